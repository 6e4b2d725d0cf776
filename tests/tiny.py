"""Tiny untrained systems and their data, which most tests start from."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer
from torch import nn

from padseg.data import AnomalyDataModule
from padseg.models import SYSTEMS, MemoryStudentTeacher, StudentTeacher
from padseg.modules import SegmentationModule, StudentDistillModule

TEACHER = {"teacher": "test_resnet", "weights": "random"}
SECOND_TEACHER = {"teacher2": "test_resnet", "weights2": "random"}
TRANSFORMER = {"teacher2": "test_vit3", "weights2": "random", "blocks": [[1], [3]]}


def tiny_network(system: str = "destseg", **more) -> dict:
    """Options of teacher and student."""
    known = SYSTEMS.get(system)
    second = SECOND_TEACHER if known is not None and len(known.teachers) == 2 else {}
    own = {"memory_size": 24} if known is not None and known.memory else {"width": 16}
    return {**TEACHER, **second, **own, **more}


def tiny_student(system: str = "destseg", **more) -> StudentDistillModule:
    """A module of phase one for images of 64x64."""
    return StudentDistillModule(system, **tiny_network(system, **{"image_size": 64, **more}))


def tiny_segmentation(distilled: Path | None = None, **more) -> SegmentationModule:
    """A module of phase two, after the checkpoint of phase one or for a given `network`."""
    return SegmentationModule(distilled, **{"segmentation_width": 16, **more})


def fill_memory(network: StudentTeacher, images: torch.Tensor) -> None:
    """Phase one in one step, on normal images (B, 3, H, W), float or uint8, if the student is a memory."""
    if isinstance(network, MemoryStudentTeacher):
        images = images / 255 if images.dtype == torch.uint8 else images
        network.collect(images, torch.arange(len(images)), 0, 1, lambda x: x)
        network.student.choose()
        network.student.candidates = []


def tiny_arguments(image_size: int = 64, *, phases: int = 1, system: str = "destseg") -> list[str]:
    """Arguments of the command line for the same networks, without system and weights."""
    own = "--model.memory_size=24" if SYSTEMS[system].memory else "--model.width=16"
    head = ["--model.segmentation_width=16"] if phases == 2 else []
    return [
        *("--model.teacher=test_resnet", own),
        *(f"--model.image_size={image_size}", *head),
    ]


def tiny_data(root: Path | str, textures: Path | str | None = None, **more) -> AnomalyDataModule:
    """The made category at 64x64, four images a batch, in this process; no pairs without textures."""
    options = {"image_size": 64, "batch_size": 4, "num_workers": 0}
    if textures is None:
        return AnomalyDataModule(root, "widget", **{**options, "synthesis": None, **more})
    return AnomalyDataModule(root, "widget", textures, **{**options, **more})


def count_parameters(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def shake(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give batch norms statistics and weights that are not those of the start."""
    generator = torch.Generator().manual_seed(seed)
    for value in module.state_dict().values():
        if value.dtype.is_floating_point:
            value.copy_(torch.rand(value.shape, generator=generator) * 0.5 + 0.1)
    return module.eval()


def tiny_trainer(folder, steps, **options) -> Trainer:
    """A Trainer for a few steps on the CPU, which writes and prints nothing unless options say so."""
    quiet = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
    }
    return Trainer(default_root_dir=folder, max_epochs=-1, max_steps=steps, **{**quiet, **options})


def save_module(module: LightningModule, path: Path) -> Path:
    """Its checkpoint, as of a training of no steps."""
    trainer = Trainer(accelerator="cpu", logger=False, barebones=True)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path, weights_only=True)
    return path


def run_worker(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own with one thread, which finds this repository and its tests."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    return subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


class Seen(Callback):
    """The clean images of every training step."""

    def __init__(self):
        self.batches = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append(batch["clean"].clone())
