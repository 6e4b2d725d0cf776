"""`padseg run`."""

import argparse

from padseg.commands.arguments import (
    Subparsers,
    add_categories,
    add_textures,
    add_training,
    expanded_path,
)
from padseg.names import SYSTEM_NAMES


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "run",
        help="train, test and tabulate categories and seeds",
        description=(
            "Trains all phases of a system on each category with each seed, tests, and tabulates "
            "the results. A second call resumes what was interrupted and skips what is finished. "
            "The command also takes --model.KEY, --data.KEY and --trainer.KEY as `fit` does; "
            "options that change the results need a --label."
        ),
    )
    parser.add_argument(
        "system", metavar="SYSTEM", help=f"{', '.join(SYSTEM_NAMES)}, or a plugin's"
    )
    add_categories(parser)
    parser.add_argument("--out", type=expanded_path, required=True, help="folder for the results")
    add_textures(parser, "stpm and rstpm need none")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="seeds (default: 0)")
    add_training(parser)
    parser.add_argument("--label", help="name of the folder and the rows (default: the system)")
    parser.add_argument(
        "--parallel", type=int, help="simultaneous runs on this machine (default: one per GPU)"
    )
    parser.add_argument(
        "--shard", default="1/1", metavar="I/N", help="do the I-th of N equal parts of the runs"
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const="auto",
        metavar="ADDRESS",
        help="run on a Ray cluster: the one of this machine (default), `local`, or one at an address",
    )
    parser.add_argument(
        "--wandb",
        metavar="PROJECT",
        help="also log to this project of Weights & Biases (with WANDB_MODE=offline, to disk)",
    )
    parser.set_defaults(execute=execute, how_to_resume="the same command resumes from here")


def execute(options: argparse.Namespace) -> None:
    """Run the command."""
    from padseg.run.experiment import run
    from padseg.run.options import RunOptions
    from padseg.run.schedule import parse_shard

    run(
        RunOptions(
            system=options.system,
            root=options.root,
            categories=tuple(options.category),
            out=options.out,
            textures=options.textures,
            seeds=tuple(options.seed),
            steps=tuple(options.steps),
            batch_size=options.batch_size,
            precision=options.precision,
            weights=options.weights,
            label=options.label,
            layout=options.layout,
            wandb=options.wandb,
            overrides=options.overrides,
            plugin=options.plugin,
            quiet=options.quiet,
        ),
        parallel=options.parallel,
        shard=parse_shard(options.shard),
        ray=options.ray,
    )
