"""The command line: what each command takes, and which room does the work.

Nothing heavy is imported before a command needs it, so that `--help` and `--version` answer at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from padseg import __version__
from padseg.errors import ConfigError, PadsegError
from padseg.machine.files import CANNOT_WRITE
from padseg.names import DATA_SET_NAMES, EXPORT_FORMATS, LAYOUT_NAMES, SYSTEM_NAMES

if TYPE_CHECKING:
    from padseg.inference import Predictor

LIGHTNING_COMMANDS = {
    "fit": "train a module, as its configuration says",
    "validate": "score the held-out images",
    "test": "compute all metrics on the test images",
    "predict": "score the test images",
}
# Options of `fit` that other commands take as well.
PASSED_ON = {
    "run": ("model", "data", "trainer", "checkpoint", "evaluation", "thresholds"),
    "preview": ("data",),
}


def main(argv: Sequence[str]) -> int:
    """Run one command.

    Returns:
        The exit status: 0 when the work was done, 2 for a user's mistake.
    """
    args = list(argv)
    try:
        if args and args[0] in LIGHTNING_COMMANDS:
            from padseg.lightning_cli import cli as lightning_cli

            lightning_cli.main(args)
        else:
            options, rest = parser().parse_known_args(args)
            options.overrides = _overrides(options.command, rest)
            options.call(options)
    except PadsegError as error:
        print(f"padseg: error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        where = error.filename2 or error.filename or "a file"
        told = (
            f"{where} cannot be opened or written ({error.strerror}): make room, give access to it"
        )
        print(f"padseg: error: {told} or name another.", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def _path(text: str) -> Path:
    """A path; of `--out=~/runs`, a shell leaves the `~` to the program."""
    return Path(text).expanduser()


def parser() -> argparse.ArgumentParser:
    """The parser of the commands that are not Lightning's own."""
    top = argparse.ArgumentParser(
        prog="padseg",
        description="Student-teacher visual anomaly detection: STPM, RSTPM, DeSTSeg, PFADSeg.",
    )
    top.add_argument("--version", action="version", version=f"padseg {__version__}")
    commands = top.add_subparsers(
        title="commands", metavar="COMMAND", required=True, dest="command"
    )
    _add_run(commands.add_parser("run", help="train, test and tabulate categories and seeds"))
    _add_demo(commands.add_parser("demo", help="see it all work on a small generated data set"))
    _add_preview(commands.add_parser("preview", help="show the synthetic defects of training"))
    _add_check(commands.add_parser("check", help="find what is wrong with a data set"))
    _add_download(commands.add_parser("download", help="fetch a public data set"))
    _add_detect(commands.add_parser("detect", help="find defects in images, folders of them"))
    _add_calibrate(commands.add_parser("calibrate", help="set the thresholds of a checkpoint"))
    _add_report(commands.add_parser("report", help="make a page and tables of finished runs"))
    _add_export(commands.add_parser("export", help="write a checkpoint as ONNX and the like"))
    for name, text in LIGHTNING_COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    return top


def _add_run(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Trains both phases of a system on each category with each seed, tests, and tabulates. A "
        "second call resumes what was cut off and skips what is finished. Beside the options below, "
        "it takes --model.KEY, --data.KEY and --trainer.KEY as `fit` does; what changes results wants a "
        "--label."
    )
    command.add_argument("system", choices=SYSTEM_NAMES)
    command.add_argument("--root", type=_path, required=True, help="folder of the data set")
    command.add_argument("--category", nargs="+", required=True, help="categories in it")
    command.add_argument("--out", type=_path, required=True, help="folder for the results")
    command.add_argument("--textures", type=_path, help="folder of textures, such as dtd/images")
    command.add_argument("--seed", type=int, nargs="+", default=[0], help="seeds (default: 0)")
    command.add_argument(
        "--steps",
        type=int,
        nargs="+",
        help="optimiser steps of the distillation and of the segmentation (default: as published)",
    )
    command.add_argument("--batch-size", type=int, help="images a step (default: as published)")
    command.add_argument(
        "--precision", help="such as 32-true (default: bf16-mixed where it is fast)"
    )
    command.add_argument(
        "--weights",
        type=lambda text: str(_path(text)),
        help="the teacher's weight file (default: timm's hub)",
    )
    command.add_argument("--label", help="name of the folder and the rows (default: the system)")
    command.add_argument(
        "--parallel", type=int, help="runs at a time on this machine (default: one a GPU)"
    )
    command.add_argument(
        "--shard", default="1/1", metavar="I/N", help="do the I-th of N equal parts of the runs"
    )
    command.add_argument(
        "--ray",
        nargs="?",
        const="auto",
        metavar="ADDRESS",
        help="run on a Ray cluster: this machine's (default), `local`, or one at an address",
    )
    command.add_argument(
        "--wandb",
        metavar="PROJECT",
        help="log to this project of Weights & Biases too (WANDB_MODE=offline: to disk)",
    )
    _add_layout(command)
    command.set_defaults(call=_run)


def _run(options: argparse.Namespace) -> None:
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
            steps=tuple(options.steps or ()),
            batch_size=options.batch_size,
            precision=options.precision,
            weights=options.weights,
            label=options.label,
            layout=options.layout,
            wandb=options.wandb,
            overrides=options.overrides,
        ),
        parallel=options.parallel,
        shard=parse_shard(options.shard),
        ray=options.ray,
    )


def _overrides(command: str, rest: list[str]) -> dict[str, str]:
    """`--model.KEY VALUE` and the like, as a dict from `model.KEY` to the value.

    Raises:
        ConfigError: The command has no such option.
    """
    rooms = PASSED_ON.get(command, ())
    overrides: dict[str, str] = {}
    words = iter(rest)
    for word in words:
        key, equals, value = word.removeprefix("--").partition("=")
        room, dot, _ = key.partition(".")
        if not word.startswith("--") or not dot or room not in rooms:
            raise ConfigError(f"unknown option {word!r}: see padseg {command} --help.")
        if not equals:
            following = next(words, None)
            if following is None:
                raise ConfigError(f"option {word} needs a value.")
            value = following
        if key in overrides and key.endswith("+"):
            raise ConfigError(f"option --{key} is given twice: give all in one, as a list.")
        overrides[key] = value
    return overrides


def _add_layout(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--layout", choices=LAYOUT_NAMES, default="mvtec", help="of the data set (default: mvtec)"
    )


def _add_preview(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Draws the training samples START to START + COUNT, exactly as training sees them: clean image, "
        "texture, mask, corrupted image. Beside the options below, it takes --data.KEY as `fit` does."
    )
    command.add_argument("--root", type=_path, required=True, help="folder of the data set")
    command.add_argument("--category", required=True, help="category in it")
    command.add_argument("--textures", type=_path, help="folder of textures, such as dtd/images")
    command.add_argument("--seed", type=int, default=0, help="seed of the run (default: 0)")
    command.add_argument("--start", type=int, default=0, help="first sample (default: 0)")
    command.add_argument("--count", type=int, default=8, help="number of samples (default: 8)")
    command.add_argument(
        "--out", type=_path, default=Path("preview.png"), help="picture (default: preview.png)"
    )
    _add_layout(command)
    command.set_defaults(call=_preview)


def _preview(options: argparse.Namespace) -> None:
    from padseg.data.preview import write_preview

    given = {"root": options.root, "category": options.category, "textures": options.textures}
    given |= {"seed": options.seed, "layout": options.layout}
    named = {f"data.{key}": str(value) for key, value in given.items() if value is not None}
    write_preview(named | options.overrides, options.start, options.count, options.out)
    print(options.out)  # noqa: T201


def _add_check(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Decodes every file of the categories and tells what is unreadable, missing, doubled or does not "
        "fit together. Exit status 2 when some category cannot be used."
    )
    command.add_argument("--root", type=_path, required=True, help="folder of the data set")
    command.add_argument("--category", nargs="+", required=True, help="categories in it")
    _add_layout(command)
    command.set_defaults(call=_check)


def _check(options: argparse.Namespace) -> None:
    from padseg.data.check import check

    check(options.root, options.category, options.layout)


def _add_download(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Fetches a data set into ROOT/NAME, checks its SHA-256 and unpacks it. A second call resumes "
        "what was cut off."
    )
    command.add_argument("name", choices=DATA_SET_NAMES)
    command.add_argument(
        "--root", type=_path, required=True, help="folder for the data set's folder"
    )
    command.add_argument("--archive", type=_path, help="the archive, when it was fetched by hand")
    command.add_argument("--url", help="another place of the same archive")
    command.set_defaults(call=_download)


def _download(options: argparse.Namespace) -> None:
    from padseg.data.download import download

    download(options.name, options.root, options.archive, options.url)


def _add_demo(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Makes a small data set, trains DeSTSeg on it and tests: no network, about two minutes on two "
        "cores. A second call finds it finished."
    )
    command.add_argument(
        "--out", type=_path, default=Path("padseg_demo"), help="folder (default: padseg_demo)"
    )
    command.set_defaults(call=_demo)


def _demo(options: argparse.Namespace) -> None:
    from padseg.demo.command import demo

    demo(options.out)


def _add_detect(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Scores images and writes score maps, overlays, masks and tables of scores, verdicts and regions, "
        "at the images' own sizes. A second call goes on where one was cut off. Exit status 2 when some "
        "images cannot be read; the others are done."
    )
    _add_prediction(command)
    command.add_argument("--out", type=_path, required=True, help="folder for the results")
    command.set_defaults(call=_detect)


def _add_calibrate(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Scores normal images, which should not have been trained on, and stores in the checkpoint the "
        "thresholds above which an image or a pixel is anomalous."
    )
    _add_prediction(command)
    command.add_argument(
        "--false-alarm-rate",
        type=float,
        default=0.01,
        help="share of normal images that may be called anomalous (default: 0.01)",
    )
    command.add_argument(
        "--pixel-rate",
        type=float,
        default=0.001,
        help="share of the pixels of normal images that may be called anomalous (default: 0.001)",
    )
    command.set_defaults(call=_calibrate)


def _add_prediction(command: argparse.ArgumentParser) -> None:
    """What both take."""
    command.add_argument("checkpoint", type=_path, metavar="CKPT", help="checkpoint of a training")
    command.add_argument("paths", nargs="+", metavar="PATH", help="images, folders or patterns")
    command.add_argument(
        "--tile",
        type=int,
        help="cut larger images into overlapping tiles of so many pixels (default: resize them)",
    )
    command.add_argument("--batch-size", type=int, default=8, help="images at a time (default: 8)")
    command.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU if there is one)")
    command.add_argument(
        "--precision",
        help="such as 32-true (default: that, if the thresholds were set in it, else bf16-mixed where it is fast)",
    )


def _predictor(options: argparse.Namespace) -> "Predictor":
    from padseg.inference import Predictor

    return Predictor(
        options.checkpoint, options.device, options.precision, options.tile, options.batch_size
    )


def _detect(options: argparse.Namespace) -> None:
    from padseg.inference.detect import detect

    detect(options.paths, options.out, _predictor(options))


def _calibrate(options: argparse.Namespace) -> None:
    from padseg.inference.detect import calibrate
    from padseg.metrics.calibration import Calibrator

    calibrator = Calibrator(options.false_alarm_rate, options.pixel_rate)
    calibrate(options.checkpoint, options.paths, _predictor(options), calibrator)


def _add_report(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Writes report.html, a page that needs no network, and tables.md and tables.tex in the form of "
        "the papers into the folder of the runs."
    )
    command.add_argument("out", type=_path, metavar="OUT", help="the --out folder of padseg run")
    command.set_defaults(call=_report)


def _report(options: argparse.Namespace) -> None:
    from padseg.report import report

    for path in report(options.out):
        print(path)  # noqa: T201


def _add_export(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Writes a checkpoint as a network that takes pixels and gives score map, score and verdict, "
        "without padseg; or, as safetensors, its weights for exchange. An existing file of other "
        "content is left alone."
    )
    command.add_argument("checkpoint", type=_path, metavar="CKPT", help="checkpoint of a training")
    command.add_argument("--format", choices=EXPORT_FORMATS, required=True)
    command.add_argument(
        "--out",
        type=_path,
        required=True,
        help="file to write; openvino adds a .bin beside it; safetensors without that suffix: a "
        "folder with configuration and model card",
    )
    command.add_argument(
        "--half", action="store_true", help="store the weights as float16: half the size"
    )
    command.add_argument(
        "--int8",
        nargs="+",
        default=(),
        metavar="NORMAL",
        help="onnx, openvino: compute convolutions in 8-bit integers, with the ranges of some normal images",
    )
    command.set_defaults(call=_export)


def _export(options: argparse.Namespace) -> None:
    from padseg.export.export import export

    export(options.checkpoint, options.format, options.out, options.half, options.int8)
    print(options.out)  # noqa: T201
