"""Options of the commands that score images: `padseg detect`, `calibrate` and `app`."""

import argparse
from typing import TYPE_CHECKING

from padseg.commands.arguments import add_checkpoint, path_or_pattern

if TYPE_CHECKING:
    from padseg.inference import Predictor


def add_prediction(parser: argparse.ArgumentParser) -> None:
    """A checkpoint, images, and how to score them."""
    add_checkpoint(parser)
    parser.add_argument(
        "paths", type=path_or_pattern, nargs="+", metavar="PATH", help="images, folders or patterns"
    )
    add_scoring(parser)


def add_scoring(parser: argparse.ArgumentParser) -> None:
    """How to score images."""
    parser.add_argument(
        "--tile",
        type=int,
        help="cut larger images into overlapping tiles of this many pixels (default: resize them)",
    )
    parser.add_argument("--batch-size", type=int, default=8, help="images at a time (default: 8)")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU if there is one)")
    parser.add_argument(
        "--precision",
        help=(
            "such as 32-true (default: 32-true if the thresholds were set in it, else bf16-mixed where "
            "it is fast)"
        ),
    )


def predictor(options: argparse.Namespace) -> "Predictor":
    """The predictor that the options describe."""
    from padseg.inference import Predictor

    return Predictor(
        options.checkpoint, options.device, options.precision, options.tile, options.batch_size
    )
