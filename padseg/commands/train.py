"""`padseg train`."""

import argparse

from padseg.commands.arguments import (
    Subparsers,
    add_plugin,
    add_system,
    add_textures,
    add_training,
    expanded_path,
)


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "train",
        help="train a model on a folder of good images",
        description=(
            "Trains a model on good images alone, sets its thresholds on a tenth of them that it "
            "holds out, and writes OUT/model.ckpt, for `padseg detect`, and OUT/preview.png. A second "
            "call resumes what was interrupted. The command also takes --model.KEY, --data.KEY and "
            "--trainer.KEY as `fit` does."
        ),
    )
    parser.add_argument(
        "folders",
        type=expanded_path,
        nargs="+",
        metavar="FOLDER",
        help="folders of good images, with or without subfolders",
    )
    parser.add_argument("--out", type=expanded_path, required=True, help="folder for the model")
    add_system(parser)
    add_textures(parser, "default: a small generated set")
    add_training(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of all draws (default: 0)")
    add_plugin(parser)
    parser.set_defaults(execute=execute, how_to_resume="the same command resumes from here")


def execute(options: argparse.Namespace) -> None:
    """Run the command."""
    from padseg.training import train

    train(
        options.folders,
        options.out,
        options.system,
        options.textures,
        options.steps,
        options.weights,
        batch_size=options.batch_size,
        precision=options.precision,
        seed=options.seed,
        overrides=options.overrides,
        plugin=options.plugin,
        quiet=options.quiet,
    )
