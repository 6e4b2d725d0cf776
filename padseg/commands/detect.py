"""`padseg detect`."""

import argparse

from padseg.commands.arguments import Subparsers, expanded_path
from padseg.commands.prediction import add_prediction, predictor


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "detect",
        help="find defects in images or folders of images",
        description=(
            "Scores images and writes score maps, overlays, masks and tables of scores, verdicts "
            "and regions, at the images' own sizes. A second call resumes where the first was "
            "interrupted. The exit status is 2 if some images cannot be read; the others are "
            "still processed."
        ),
    )
    add_prediction(parser)
    parser.add_argument("--out", type=expanded_path, required=True, help="folder for the results")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="score each image that comes into the folders, once it is whole, until Ctrl-C",
    )
    parser.add_argument(
        "--outline-all",
        action="store_true",
        help="outline what exceeds the pixel threshold on images that are judged normal, too",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="remove the results that the folder holds, such as those of other thresholds",
    )
    parser.set_defaults(execute=execute, how_to_resume="the same command resumes from here")


def execute(options: argparse.Namespace) -> None:
    """Run the command."""
    from padseg.inference.detect import detect
    from padseg.inference.watch import watch

    command = watch if options.watch else detect
    command(
        options.paths,
        options.out,
        predictor(options),
        outline_all=options.outline_all,
        overwrite=options.overwrite,
    )
