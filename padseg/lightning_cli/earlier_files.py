"""Protects the files of earlier trainings when a configuration is used again.

The `config.yaml` of a run or of a training names the folders that it wrote to. There, Lightning's loggers
would delete the log, and the configuration and the checkpoints would be replaced.
"""

from collections.abc import Iterator
from pathlib import Path

from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only

from padseg.errors import ConfigError
from padseg.machine.folders import OPTIONS_FILE
from padseg.modules.trainer_parts import callbacks_of

_LOGS = "logs"  # of a folder of `padseg run`, see `padseg.run.files`


def protect_earlier_files(trainer: Trainer, command: str, resumed: str | None) -> None:
    """Reject folders in which files of another training would be replaced; keep the log of this one.

    Args:
        trainer: The Trainer that is about to run the command.
        command: `fit`, `validate`, `test` or `predict`.
        resumed: The --ckpt_path of `fit`.

    Raises:
        ConfigError: A logger or a checkpoint callback writes to the folder of another training.
    """
    # The other processes would find what the first one has just written.
    if getattr(rank_zero_only, "rank", 0):
        return
    saved = [
        Path(callback.dirpath)
        for callback in callbacks_of(trainer, ModelCheckpoint)
        if command == "fit" and callback.dirpath
    ]
    for folder in saved:
        if _in_run(folder):
            raise _refused(folder, "--checkpoint.dirpath")
    for folder in _log_folders(trainer):
        own = command == "fit" and resumed and _goes_on(folder, saved, resumed)
        has_files = folder.is_dir() and any(path.is_file() for path in folder.iterdir())
        if _in_run(folder) or (has_files and not own):
            raise _refused(folder, "--trainer.logger.save_dir or --trainer.logger.version")
        keep_log(folder / "metrics.csv")


def keep_log(path: Path) -> None:
    """Rename the log of an earlier process, because Lightning's logger would delete it."""
    if path.exists():
        # After the highest number, because some of the logs may have been removed.
        kept = path.parent.glob(f"{path.stem}-*{path.suffix}")
        names = [old.stem.removeprefix(f"{path.stem}-") for old in kept]
        number = 1 + max((int(name) for name in names if name.isdecimal()), default=0)
        path.rename(path.with_stem(f"{path.stem}-{number}"))


def _refused(folder: Path, option: str) -> ConfigError:
    return ConfigError(
        f"{folder} holds the files of another training, which would be replaced: pass another {option}."
    )


def _log_folders(trainer: Trainer) -> Iterator[Path]:
    for logger in trainer.loggers:
        folder = getattr(logger, "log_dir", None)
        if isinstance(folder, str):
            yield Path(folder)


def _in_run(folder: Path) -> bool:
    """Whether it is the folder of a run, or lies among its logs."""
    above = [folder, *folder.parents]
    runs = [folder, *(path.parent for path in above if path.name == _LOGS)]
    return any((run / OPTIONS_FILE).is_file() and (run / _LOGS).is_dir() for run in runs)


def _goes_on(log: Path, saved: list[Path], resumed: str) -> bool:
    """Whether a training resumes from a checkpoint that lies below its logs, or where it saves."""
    if resumed in ("last", "hpc"):
        return True
    folder = Path(resumed).resolve().parent
    return folder.is_relative_to(log.resolve()) or folder in [path.resolve() for path in saved]
