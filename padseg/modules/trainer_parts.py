"""What a Trainer has that padseg knows: its callbacks of some kinds, and its data."""

from typing import Any, TypeVar

from lightning import Callback, Trainer

from padseg.data import AnomalyDataModule

Kind = TypeVar("Kind", bound=Callback)


def callbacks_of(trainer: Trainer, *kinds: type[Kind]) -> list[Kind]:
    """The callbacks of these kinds."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, kinds)]


def data_of(trainer: Trainer | None) -> AnomalyDataModule | None:
    """The data module, if it is padseg's."""
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, AnomalyDataModule) else None


def forget_earlier_data(trainer: Trainer) -> None:
    """Let loaders that a task is given count as such: Lightning keeps the data module of an earlier task."""
    hooks = trainer._data_connector._datahook_selector
    if hooks is not None and hooks.datamodule is None:
        trainer.datamodule = None  # type: ignore[attr-defined]  # as in a new Trainer


def state_of_data(trainer: Trainer) -> dict[str, Any] | None:
    """What the data module would leave in a checkpoint; None without one."""
    data = data_of(trainer)
    return None if data is None else data.state_dict()
