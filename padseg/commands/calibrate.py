"""`padseg calibrate`."""

import argparse

from padseg.commands.arguments import Subparsers
from padseg.commands.prediction import add_prediction, predictor


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "calibrate",
        help="set the thresholds of a checkpoint",
        description=(
            "Scores normal images, which training should not have seen, and stores in the "
            "checkpoint the thresholds above which an image or a pixel is anomalous."
        ),
    )
    add_prediction(parser)
    parser.add_argument(
        "--false-alarm-rate",
        type=float,
        default=0.01,
        help="share of normal images that may be called anomalous (default: 0.01)",
    )
    parser.add_argument(
        "--pixel-rate",
        type=float,
        default=0.001,
        help="share of the pixels of normal images that may be called anomalous (default: 0.001)",
    )
    parser.set_defaults(execute=execute, how_to_resume="the checkpoint is unchanged")


def execute(options: argparse.Namespace) -> None:
    """Run the command."""
    from padseg.inference.calibrate import calibrate
    from padseg.metrics.calibration import Calibrator

    calibrator = Calibrator(options.false_alarm_rate, options.pixel_rate)
    calibrate(options.checkpoint, options.paths, predictor(options), calibrator)
