"""`padseg check`."""

import argparse

from padseg.commands.arguments import Subparsers, add_categories


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "check",
        help="find what is wrong with a data set",
        description=(
            "Decodes every file of the categories and reports files that are unreadable, missing, "
            "duplicated or inconsistent. The exit status is 2 if a category cannot be used."
        ),
    )
    add_categories(parser)
    parser.add_argument(
        "--image-size",
        type=int,
        nargs="+",
        default=[256],
        metavar="N",
        help="height and width, or one number for both, to which masks are reduced (default: 256)",
    )
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> None:
    """Run the command."""
    from padseg.data.check import check
    from padseg.data.images import as_size

    size = as_size(options.image_size[0] if len(options.image_size) == 1 else options.image_size)
    check(options.root, options.category, options.layout, size)
