"""`padseg preview`."""

import argparse
from pathlib import Path

from padseg.commands.arguments import (
    Subparsers,
    add_data_set,
    add_system,
    add_textures,
    expanded_path,
)


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "preview",
        help="show the synthetic defects of training",
        description=(
            "Draws the samples START to START + COUNT of a training, as the last phase of a system sees them: "
            "clean image, texture, mask, corrupted image. It also takes --data.KEY as `fit` does."
        ),
    )
    add_data_set(parser)
    parser.add_argument("--category", required=True, help="category in it")
    add_system(parser)
    add_textures(parser, "stpm and rstpm need none")
    parser.add_argument("--seed", type=int, default=0, help="seed of the run (default: 0)")
    parser.add_argument("--start", type=int, default=0, help="first sample (default: 0)")
    parser.add_argument("--count", type=int, default=8, help="number of samples (default: 8)")
    parser.add_argument(
        "--out",
        type=expanded_path,
        default=Path("preview.png"),
        help="picture (default: preview.png)",
    )
    parser.set_defaults(execute=execute, options_of_fit=("data",))


def execute(options: argparse.Namespace) -> None:
    """Run the command."""
    from padseg.data.preview import write_preview
    from padseg.lightning_cli.data_module import build_data_module
    from padseg.lightning_cli.recipes import data_options
    from padseg.options import refuse_set

    names = ("root", "category", "textures", "seed", "layout")
    refuse_set(options.overrides, {f"data.{name}": f"use --{name}" for name in names})
    given = {name: getattr(options, name) for name in names}
    named = {f"data.{name}": str(value) for name, value in given.items() if value is not None}
    data = build_data_module(data_options(options.system) | named | options.overrides)
    write_preview(data, options.start, options.count, options.out)
    print(options.out)
