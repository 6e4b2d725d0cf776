"""The options of `padseg run`."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from padseg.data.foreground import OTSU
from padseg.data.layouts import LAYOUTS
from padseg.errors import ConfigError, did_you_mean
from padseg.lightning_cli.recipes import phases_of
from padseg.machine.files import expanded
from padseg.models import SYSTEMS, find_system
from padseg.modules import SegmentationModule, StudentDistillModule
from padseg.options import check_seed, is_zero, one_of, refuse_set
from padseg.plugins import load_plugin

# Options of `fit` that a run sets itself, and what to use instead or what sets them.
_SET_BY_RUN = {
    "data.root": "use --root",
    "data.category": "use --category",
    "data.textures": "use --textures",
    "data.layout": "use --layout",
    "data.batch_size": "use --batch-size",
    "data.seed": "use --seed",
    "data.image_size": "use --model.image_size",
    "model.system": "use SYSTEM",
    "model.weights": "use --weights",
    "model.distilled": "it is the student of the first phase",
    "trainer.max_steps": "use --steps",
    "trainer.precision": "use --precision",
    "trainer.logger": "it is always a CSV log; --wandb adds Weights & Biases",
    "trainer.default_root_dir": "it is the folder of the run",
    "trainer.enable_checkpointing": "it is always on",
    "trainer.fast_dev_run": "use --steps",
    **{
        f"checkpoint.{name}": "the run sets it"
        for name in ("dirpath", "filename", "save_last", "save_top_k", "save_weights_only")
    },
    **dict.fromkeys(
        ("checkpoint.monitor", "checkpoint.mode"), "use BestCheckpoint (--trainer.callbacks)"
    ),
}
# Options on which no result depends; they may change between calls.
WITHOUT_EFFECT = {
    "data.num_workers",
    "data.cache_limit_mb",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "trainer.log_every_n_steps",
    "checkpoint.every_n_train_steps",
    "checkpoint.train_time_interval",
}
# Options, and whole sections, that a memory's phase refuses or does not need: a run gives them to the next phase only.
_NOT_OF_MEMORIES = (
    "data.synthesis",
    "model.momentum",
    "model.weight_decay",
    "trainer.callbacks",  # such as EMAWeightAveraging, or EarlyStopping
    "trainer.max_time",
    "trainer.accumulate_grad_batches",
    "trainer.gradient_clip_val",
    "trainer.gradient_clip_algorithm",
)
_NO_WEIGHT_FILES = (None, "pretrained", "random")
# Other options of `fit` that may be a file or a folder, and their words for something else.
_MAY_NAME_FILES = {"model.weights2": _NO_WEIGHT_FILES, "data.foreground": (OTSU,)}
_MODULES = {"distill": StudentDistillModule, "segment": SegmentationModule}


@dataclass(frozen=True)
class RunOptions:
    """The options of `padseg run`.

    Attributes:
        system: `stpm`, `rstpm`, `destseg`, `pfadseg`, `tedseg`, or a plugin's.
        root: Folder of the data set.
        categories: Categories in it.
        out: Folder for the results.
        textures: Folder of textures; one-phase systems ignore it.
        seeds: Seeds.
        steps: Optimiser steps of both phases; empty for the configured ones.
        batch_size: Images per step; None for the configured number.
        precision: Lightning's name of the precision; None for the fastest safe one on this device.
        weights: The teacher's weight file; None for timm's hub.
        label: Name of the folder and the rows; None for the system's name.
        layout: Layout of the data set's folder.
        wandb: Project of Weights & Biases to log to; each phase is a separate W&B run.
        overrides: Options of `fit`, from `model.KEY`, `data.KEY` or `trainer.KEY` to the value.
        plugin: Module that registers the system, the layout or the like; every process imports it.
        quiet: Whether to say nothing but warnings and errors.
        bars: Whether progress may be shown as bars, which processes side by side cannot; else as lines.
    """

    system: str
    root: Path
    categories: tuple[str, ...]
    out: Path
    textures: Path | None = None
    seeds: tuple[int, ...] = (0,)
    steps: tuple[int, ...] = ()
    batch_size: int | None = None
    precision: str | None = None
    weights: str | None = None
    label: str | None = None
    layout: str = "mvtec"
    wandb: str | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    plugin: str | None = None
    quiet: bool = False
    bars: bool = True

    def __post_init__(self) -> None:
        """Check everything that can be checked without reading files.

        Raises:
            ConfigError: An option cannot be used.
        """
        load_plugin(self.plugin)
        find_system(self.system)
        one_of("--layout", self.layout, LAYOUTS)
        names = [("--label", self.name), *(("--category", name) for name in self.categories)]
        for option, name in names:
            if name in ("", ".", "..") or {"/", "\\"} & set(name):
                raise ConfigError(f"{option} {name!r} must be the plain name of a folder.")
            if ": " in f"{self.out}/{name}":  # Lightning's CLI would parse it as a mapping
                raise ConfigError(
                    f"{option} {name!r} in --out {self.out}: leave ': ' out of names."
                )
        if self.steps and (min(self.steps) < 1 or len(self.steps) not in (len(self.phases), 2)):
            raise ConfigError(
                f"--steps takes {len(self.phases)} numbers from 1 up, for {' and '.join(self.phases)}."
            )
        for seed in self.seeds:
            check_seed("--seed", seed)
        least = 2 if len(self.phases) == 2 else 1
        if self.batch_size is not None and self.batch_size < least:
            raise ConfigError(
                f"--batch-size is {self.batch_size}; {self.system} needs at least {least}."
            )
        if self.weights not in _NO_WEIGHT_FILES and self.weight_file is None:
            folder = expanded(str(self.weights)).is_dir()
            wrong = "is a folder: name a file in it" if folder else "does not exist"
            raise ConfigError(f"--weights {self.weights} {wrong}.")
        self._check_overrides()

    def _check_overrides(self) -> None:
        refuse_set(self.overrides, _SET_BY_RUN)
        if "evaluation.recall" in self.overrides:
            raise ConfigError(
                "--evaluation.recall cannot be set here: a run reports iap90; use `fit` and `test`."
            )
        for key in self.overrides:
            if not any(self._takes(phase, key) for phase in self.phases):
                kinds = [_MODULES[phase] for phase in self.phases]
                known = [
                    f"model.{name}" for kind in kinds for name in inspect.signature(kind).parameters
                ]
                helps = (
                    f"padseg fit --model.help padseg.modules.{kind.__name__}" for kind in kinds
                )
                raise ConfigError(
                    f"--{key} is not an option of {self.system}'s modules: see {' and '.join(helps)}."
                    + did_you_mean(key, known)
                )
        if is_zero(self.overrides.get("trainer.limit_test_batches")):
            raise ConfigError(
                "--trainer.limit_test_batches is 0; a run ends with a test: use `fit` for a training alone."
            )
        departures = [key for key in self.overrides if key not in WITHOUT_EFFECT]
        if departures and self.label is None:
            key = departures[0]
            raise ConfigError(f"--{key} departs from {self.system}: name the variant with --label.")

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases of the system."""
        return phases_of(self.system)

    @property
    def used_textures(self) -> Path | None:
        """The folder of textures, if the system paints synthetic defects."""
        return self.textures if SYSTEMS[self.system].synthetic else None

    @property
    def weight_file(self) -> Path | None:
        """The file of the teacher's weights, if they come from one."""
        path = expanded(str(self.weights))
        return path if self.weights not in _NO_WEIGHT_FILES and path.is_file() else None

    @property
    def name(self) -> str:
        """Label of folder and rows."""
        return self.system if self.label is None else self.label

    def portable(self) -> "RunOptions":
        """The same options for a process in another working folder and without a terminal."""
        textures = None if self.textures is None else self.textures.absolute()
        weights = self.weight_file
        return replace(
            self,
            overrides=self.replace_inputs(lambda path: str(path.absolute())),
            root=self.root.absolute(),
            out=self.out.absolute(),
            textures=textures,
            weights=self.weights if weights is None else str(weights.absolute()),
            bars=False,
        )

    def replace_inputs(self, by: Callable[[Path], str]) -> dict[str, str]:
        """The overrides, with a replacement for the files and folders that some of them name."""
        named = {
            key: expanded(value)
            for key, value in self.overrides.items()
            if key in _MAY_NAME_FILES and value not in _MAY_NAME_FILES[key]
        }
        return {**self.overrides} | {key: by(path) for key, path in named.items() if path.exists()}

    def overrides_of(self, phase: str) -> dict[str, str]:
        """The overrides that apply to a phase."""
        return {key: value for key, value in self.overrides.items() if self._takes(phase, key)}

    def _takes(self, phase: str, key: str) -> bool:
        """Whether an option applies to a phase; both phases have data and trainer options."""
        remembers = phase == "distill" and SYSTEMS[self.system].memory and len(self.phases) == 2
        # Lists end with a plus.
        named = f"{key.rstrip('+')}."
        if remembers and named.startswith(tuple(f"{name}." for name in _NOT_OF_MEMORIES)):
            return False
        room, _, option = key.partition(".")
        return room != "model" or option in inspect.signature(_MODULES[phase]).parameters
