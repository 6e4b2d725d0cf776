"""Compilation of the trained networks."""

from collections.abc import Iterator
from typing import Literal

from lightning import Callback, LightningModule, Trainer
from torch import nn

CompileMode = Literal["default", "reduce-overhead", "max-autotune"]


class CompileCallback(Callback):
    """Compiles the trained networks with `torch.compile` while a training lasts.

    Weights, checkpoints and exports are those of the networks themselves. The first step takes minutes, and
    results change by rounding. `reduce-overhead` uses CUDA graphs, which save most where a network has many
    small kernels, such as PFADSeg's student.

    Args:
        mode: Mode of `torch.compile`; None to compile nothing.
    """

    def __init__(self, mode: CompileMode | None = None) -> None:
        self.mode = mode
        self._compiled: list[nn.Module] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compile in place, which leaves the names of the weights alone."""
        if self.mode is not None:
            self._compiled = list(trained_parts(pl_module))
            for part in self._compiled:
                part.compile(mode=self.mode)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the networks as they were; compiled ones cannot be copied."""
        for part in self._compiled:
            part._compiled_call_impl = None
        self._compiled = []


def trained_parts(module: nn.Module) -> Iterator[nn.Module]:
    """The largest parts of a module that are trained as a whole."""
    trained = [parameter.requires_grad for parameter in module.parameters()]
    if trained and all(trained):
        yield module
    elif any(trained):
        for child in module.children():
            yield from trained_parts(child)
