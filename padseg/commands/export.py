"""`padseg export`."""

import argparse

from padseg.commands.arguments import Subparsers, add_checkpoint, expanded_path, path_or_pattern
from padseg.names import EXPORT_FORMATS


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        help="write a checkpoint as ONNX or in another format",
        description=(
            "Writes a checkpoint as a network that takes pixels, returns score map, score and "
            "verdict, and runs without padseg; or, as safetensors, only its weights. Existing "
            "files with other content are not overwritten."
        ),
    )
    add_checkpoint(parser)
    parser.add_argument(
        "--format",
        choices=EXPORT_FORMATS,
        required=True,
        metavar="FORMAT",
        help=", ".join(EXPORT_FORMATS),
    )
    parser.add_argument(
        "--out",
        type=expanded_path,
        required=True,
        help=(
            "file to write; openvino also writes a .bin file; safetensors writes a folder with "
            "configuration and model card, unless the name ends in .safetensors"
        ),
    )
    parser.add_argument(
        "--half", action="store_true", help="store the weights as float16: half the size"
    )
    parser.add_argument(
        "--int8",
        type=path_or_pattern,
        nargs="+",
        default=(),
        metavar="NORMAL",
        help=(
            "onnx, openvino: compute convolutions in 8-bit integers, with ranges measured on some normal "
            "images"
        ),
    )
    parser.add_argument(
        "--license",
        metavar="ID",
        help="safetensors: licence for the model card, such as apache-2.0 (default: the teacher's)",
    )
    parser.set_defaults(execute=execute, how_to_resume="nothing is written")


def execute(options: argparse.Namespace) -> None:
    """Run the command."""
    from padseg.export import export

    export(
        options.checkpoint,
        options.format,
        options.out,
        options.half,
        options.int8,
        options.license,
    )
    print(options.out)
