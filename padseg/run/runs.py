"""The runs of an experiment, and the command lines of `fit` that carry them out."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from padseg.lightning_cli.recipes import config_path
from padseg.machine.files import hash_file
from padseg.plugins import plugin_file
from padseg.run.files import PhaseFiles, run_folder
from padseg.run.fingerprint import hash_folder, hash_listing
from padseg.run.options import WITHOUT_EFFECT, RunOptions

# Of the things that results depend on, those that may differ among the runs of a label.
OF_ONE_RUN = frozenset({"seed", "category", "images", "layout", "label"})


@dataclass(frozen=True)
class Run:
    """One run of an experiment with these options: a category with a seed."""

    options: RunOptions
    category: str
    seed: int

    def __str__(self) -> str:
        return f"{self.category} seed {self.seed}"

    @property
    def folder(self) -> Path:
        """The folder of its results."""
        return run_folder(self.options.out, self.options.name, self.category, self.seed)

    def title(self, phase: str = "") -> str:
        """The run, or a phase of it, in words: `bottle, seed 0, distill (run 3 of 8)`."""
        runs = runs_of(self.options)
        words = [self.category, f"seed {self.seed}", *([phase] if phase else [])]
        place = f" (run {runs.index(self) + 1} of {len(runs)})" if len(runs) > 1 else ""
        return ", ".join(words) + place

    def results_depend_on(self) -> dict[str, Any]:
        """What its results depend on, in plain values; inputs may be moved but not changed."""
        options = self.options
        file = options.weight_file
        weights = options.weights if file is None else hash_file(file)
        textures = options.used_textures
        overrides = options.replace_inputs(
            lambda path: hash_folder(path) if path.is_dir() else hash_file(path)
        )
        own = {} if options.plugin is None else {"plugin": hash_file(plugin_file(options.plugin))}
        return own | {
            "system": options.system,
            "label": options.label,
            "category": self.category,
            "seed": self.seed,
            "steps": list(options.steps),
            "batch_size": options.batch_size,
            "precision": options.precision,
            "overrides": {
                key: value for key, value in overrides.items() if key not in WITHOUT_EFFECT
            },
            "configuration": {
                phase: hash_file(config_path(options.system, phase)) for phase in options.phases
            },
            "weights": weights,
            "layout": options.layout,
            "images": hash_listing(options.root, self.category, options.layout),
            "texture images": None if textures is None else hash_folder(textures),
        }

    def fit_args(self, files: PhaseFiles) -> list[str]:
        """The command line of `fit` for one of its phases."""
        options, phase = self.options, files.phase
        given: dict[str, Any] = {} if options.plugin is None else {"plugin": options.plugin}
        given |= {
            "seed_everything": self.seed,
            "model.system": options.system,  # whose recipe may be another system's
            "data.root": options.root,
            "data.category": self.category,
            "data.layout": options.layout,
            "trainer.logger": "CSVLogger",
            "trainer.logger.save_dir": files.run,
            "trainer.logger.name": files.logs.parent.name,
            "trainer.logger.version": files.logs.name,
            "trainer.default_root_dir": files.logs,
            "trainer.enable_progress_bar": not options.quiet,
            "trainer.enable_model_summary": False,
            "trainer.devices": 1,
            "checkpoint.dirpath": files.run.absolute(),  # Lightning would expand a `~` in it
            "checkpoint.filename": files.resume.stem,
            "checkpoint.save_last": "false",
            "checkpoint.save_top_k": 1,
        }
        if options.used_textures is not None:
            given["data.textures"] = options.used_textures
        if options.steps:
            given["trainer.max_steps"] = options.steps[options.phases.index(phase)]
        if options.batch_size is not None:
            given["data.batch_size"] = options.batch_size
        if options.precision is not None:
            given["trainer.precision"] = options.precision
        if phase == "distill" and options.weights is not None:
            given["model.weights"] = options.weights
        if phase == "segment":
            given["model.distilled"] = PhaseFiles(files.run, "distill").checkpoint
        given |= options.overrides_of(phase)
        config = ["--config", str(config_path(options.system, phase))]
        return config + [f"--{key}={value}" for key, value in given.items()]


def runs_of(options: RunOptions) -> list[Run]:
    """Each category with each seed, once; a name may be given twice."""
    pairs = dict.fromkeys(itertools.product(options.categories, options.seeds))
    return [Run(options, category, seed) for category, seed in pairs]
