"""`padseg report`."""

import argparse

from padseg.commands.arguments import Subparsers, expanded_path


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "report",
        help="make a page and tables from finished runs",
        description=(
            "Writes report.html, a page that works offline, and tables.md and tables.tex in the "
            "form of the papers into the folder of the runs."
        ),
    )
    parser.add_argument(
        "out", type=expanded_path, metavar="OUT", help="the --out folder of padseg run"
    )
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> None:
    """Run the command."""
    from padseg.report import report

    for path in report(options.out):
        print(path)
