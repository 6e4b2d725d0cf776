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
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> None:
    """Run the command."""
    from padseg.data.check import check

    check(options.root, options.category, options.layout)
