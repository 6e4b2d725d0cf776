"""`padseg train`: from good images alone to a calibrated checkpoint.

DIR/model.ckpt     the checkpoint: weights, and thresholds from held-out images
DIR/preview.png    training pairs, and score maps of held-out images
DIR/training/      the training itself, from which an interrupted call resumes
"""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from operator import index
from pathlib import Path

from padseg.data.builtin_textures import builtin_textures
from padseg.data.image_files import list_textures
from padseg.errors import ConfigError, count
from padseg.inference import Predictor
from padseg.inference.calibrate import describe_thresholds
from padseg.machine.console import quietly, say, shell
from padseg.machine.files import absolute, expanded, written_whole
from padseg.machine.folders import recorded_options
from padseg.machine.marks import require_own
from padseg.models import find_system
from padseg.names import DEFAULT_SYSTEM
from padseg.options import refuse_set
from padseg.plugins import load_plugin, plugin_option
from padseg.run.check import check_options
from padseg.run.files import METRICS_FILE, PhaseFiles
from padseg.run.one import run_in
from padseg.run.options import RunOptions
from padseg.run.runs import runs_of
from padseg.training.good_images import LAYOUT, good_images, register_good_images
from padseg.training.preview import PreviewCallback

# Options of `fit` that are set in another way than with `padseg run`.
_SET_BY_TRAIN = {
    **dict.fromkeys(("data.root", "data.category", "data.layout"), "FOLDER determines it"),
    "model.system": "use --system",
    "trainer.logger": "it is always a CSV log",
}
# The share of the images that is held out for the thresholds, whatever the recipe of the system.
_HELD_OUT = "0.1"


def train(
    folders: str | Path | Sequence[str | Path],
    out: str | Path,
    system: str = DEFAULT_SYSTEM,
    textures: str | Path | None = None,
    steps: int | Sequence[int] = (),
    weights: str | None = None,
    *,
    batch_size: int | None = None,
    precision: str | None = None,
    seed: int = 0,
    overrides: Mapping[str, str] | None = None,
    plugin: str | None = None,
    quiet: bool = False,
) -> Path:
    """Train a model on good images alone and calibrate it on some that are held out.

    A second call with the same arguments resumes what was interrupted.

    Args:
        folders: One or more folders of good images, searched with all their subfolders.
        out: Folder for `model.ckpt` and `preview.png`.
        system: Name of the system.
        textures: Folder of textures for synthetic defects; None for a small generated set.
        steps: Optimiser steps of each phase, a number if there is one; empty for those of the recipe.
        weights: The teacher's weight file; None for timm's hub.
        batch_size: Images per step; None for the recipe's number.
        precision: Lightning's name of the precision; None for the fastest safe one on this device.
        seed: Seed of all draws.
        overrides: Options of `fit`, from `model.KEY`, `data.KEY` or `trainer.KEY` to the value.
        plugin: Module that registers the system.
        quiet: Whether to say nothing but warnings and errors.

    Returns:
        The path of `model.ckpt`, for a `Predictor`.

    Raises:
        PadsegError: An input cannot be used, or `out` holds another training.
    """
    load_plugin(plugin)
    out, overrides = absolute(expanded(out)), dict(overrides or {})
    textures = None if textures is None else expanded(textures)
    refuse_set(overrides, _SET_BY_TRAIN)
    folder, model, picture = out / "training", out / "model.ckpt", out / "preview.png"
    _refuse_what_is_there(out, model, folder)
    require_own(picture)
    with quietly(quiet):
        images = good_images(folders, (folder, textures, overrides.get("data.foreground")))
        register_good_images(images)
        say(f"Training {system} on {count(len(images), 'good image')}.")
        options = RunOptions(
            system=system,
            root=Path(os.path.commonpath([path.parent for path in images])),
            categories=(_name(out),),
            out=out,
            textures=_textures(system, textures, out),
            seeds=(index(seed),),  # also of NumPy, which JSON does not take
            steps=tuple(map(index, steps if isinstance(steps, Iterable) else [steps])),
            batch_size=None if batch_size is None else index(batch_size),
            precision=precision,
            weights=weights,
            label=system,
            layout=LAYOUT,
            overrides={"data.val_fraction": _HELD_OUT} | overrides,
            plugin=plugin,
            quiet=quiet,
        )
        _run(options, folder, model, PreviewCallback(picture))
    return model


def _refuse_what_is_there(out: Path, model: Path, folder: Path) -> None:
    if out.is_file():
        raise ConfigError(f"--out {out} is a file: name a folder.")
    if model.exists() and not folder.exists():
        raise ConfigError(f"{model} exists without its training: pass another --out, or remove it.")


def _run(options: RunOptions, folder: Path, model: Path, picture: PreviewCallback) -> None:
    """Train in a folder, or resume there; copy the last checkpoint to its place and say what comes next."""
    finished = (folder / METRICS_FILE).exists()
    (run,) = runs_of(options)
    if not finished:
        check_options(run)
    run_in(folder, run, remedy="pass another --out", callbacks=[picture])
    if not finished or not model.exists():  # an earlier copy may have the user's own thresholds
        with written_whole(model) as draft:
            shutil.copyfile(PhaseFiles(folder, options.phases[-1]).checkpoint, draft)
    predictor = Predictor(model)
    picture.add_score_maps(predictor)
    thresholds = "no thresholds"
    if predictor.calibration is not None:
        thresholds = describe_thresholds(predictor.calibration)
    say(f"Model: {model}, with {thresholds}; pictures: {picture.path}")
    plugin = plugin_option(options.plugin)
    say(f"Next: {shell('padseg', 'detect', *plugin, model)} IMAGES --out found")
    say(f"      {shell('padseg', 'export', *plugin, model)} --format onnx --out net.onnx")


def _name(out: Path) -> str:
    """The name of a training: that of its folder when it began, although it may have been renamed since."""
    began = recorded_options(out / "training") or {}
    return str(began.get("category", out.name or "model"))


def _textures(system: str, textures: Path | None, out: Path) -> Path | None:
    """The folder of textures that the system needs; None if it needs none."""
    if not find_system(system).synthetic:
        return None
    if textures is not None:
        list_textures(textures)  # refuses what holds none
        return textures
    say(
        "Synthetic defects are painted with a small generated set of textures; real ones are better: padseg "
        "download dtd --root data, then --textures data/dtd/images."
    )
    return builtin_textures(out / "training" / "textures")
