"""`padseg demo`."""

import argparse
from pathlib import Path

from padseg.commands.arguments import Subparsers, add_quiet, expanded_path


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo",
        help="see padseg work on a small generated data set",
        description=(
            "Generates a small data set, trains TEDSeg on each of its three categories and tests it. There "
            "are no pretrained weights: the teacher's convolutions are random, and its batch norms are set "
            "from generated textures. This takes about a minute on two cores and needs no network. A second "
            "call finds the runs finished."
        ),
    )
    parser.add_argument(
        "--out",
        type=expanded_path,
        default=Path("padseg_demo"),
        help="folder (default: padseg_demo)",
    )
    add_quiet(parser)
    parser.set_defaults(execute=execute, how_to_resume="the same command resumes from here")


def execute(options: argparse.Namespace) -> None:
    """Run the command."""
    from padseg.demo import demo

    demo(options.out, quiet=options.quiet)
