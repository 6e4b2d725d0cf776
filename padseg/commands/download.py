"""`padseg download`."""

import argparse

from padseg.commands.arguments import Subparsers, expanded_path
from padseg.names import DATA_SET_NAMES


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "download",
        help="fetch a public data set",
        description=(
            "Fetches a data set into ROOT/NAME, verifies its SHA-256 and unpacks it. A second "
            "call resumes an interrupted download."
        ),
    )
    parser.add_argument(
        "name",
        choices=DATA_SET_NAMES,
        metavar="NAME",
        help=f"the data set: {', '.join(DATA_SET_NAMES)}",
    )
    parser.add_argument(
        "--root",
        type=expanded_path,
        required=True,
        help="folder in which the folder of the data set is made",
    )
    parser.add_argument(
        "--archive", type=expanded_path, help="the archive, if you downloaded it yourself"
    )
    parser.add_argument("--url", help="another address of the same archive")
    parser.set_defaults(execute=execute, how_to_resume="the same command resumes from here")


def execute(options: argparse.Namespace) -> None:
    """Run the command."""
    from padseg.data.download import download

    download(options.name, options.root, options.archive, options.url)
