"""What the progress bar shows."""

import io
import re

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks.progress.rich_progress import CustomProgress
from rich.console import Console
from rich.progress import TextColumn
from rich.table import Column

from padseg.callbacks import StepBar, StepLines, progress
from tiny import tiny_data, tiny_student, tiny_trainer


def train(data, folder, steps, callback):
    """A few steps of phase one that show their progress in `callback`."""
    torch.manual_seed(0)
    options = {"limit_val_batches": 0, "enable_progress_bar": True, "callbacks": [callback]}
    trainer = tiny_trainer(folder, steps, **options)
    trainer.fit(tiny_student(image_size=32, lr=1e-4), datamodule=data)
    return trainer


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, [1, 2, 3]), (1e6, [1, 3])])
def test_bar_counts_steps(seconds, shown, data_root, textures, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS", seconds)
    seen = []

    class Bar(StepBar):
        def _update(self, progress_bar_id, current, **options):
            super()._update(progress_bar_id, current, **options)
            task = self.progress.tasks[progress_bar_id]
            seen.append((task.description, task.completed, task.total))

    trainer = train(tiny_data(data_root, textures, image_size=32, batch_size=2), tmp_path, 3, Bar())
    assert seen == [("Step", step, 3) for step in shown]
    assert "v_num" not in trainer.progress_bar_metrics
    assert "train_loss" in trainer.progress_bar_metrics


def test_lines_name_the_run_and_its_figures(data_root, textures, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("padseg.machine.progress._MINUTE", 0.0)
    lines = StepLines("bottle [a], seed 0, distill (run 3 of 8)")
    train(tiny_data(data_root, textures, image_size=32, batch_size=2), tmp_path, 2, lines)
    told = capsys.readouterr().out.splitlines()
    first, last = (line for line in told if not line.startswith("Decoding"))
    figures = r"[\d.e+]+ a (second|minute)(, \d+ s left)?, loss [\d.]+"
    title = r"bottle \[a\], seed 0, distill \(run 3 of 8\)"
    assert re.fullmatch(f"{title}: 1 of 2 steps, {figures}", first)
    assert re.fullmatch(f"{title}: 2 of 2 steps, {figures}", last)


@pytest.mark.parametrize(
    ("width", "shown"), [(60, "Step"), (140, "\\[a] x, seed 0, distill (run 3 of 8)")]
)
def test_the_bar_names_the_run_where_there_is_room(width, shown, monkeypatch):
    monkeypatch.setattr(progress, "get_console", lambda: Console(width=width))
    assert StepBar("[a] x, seed 0, distill (run 3 of 8)").description() == shown
    assert StepBar().description() == "Step"


@pytest.mark.parametrize("width", [30, 40, 50, 60, 80, 120])
def test_no_figure_of_the_bar_is_cut(width, monkeypatch):
    console = Console(width=width, color_system=None, file=io.StringIO())
    monkeypatch.setattr(progress, "get_console", lambda: console)
    loss = TextColumn(
        "train_loss: 12.345", table_column=Column()
    )  # as Lightning's, it may be wrapped
    columns = StepBar().configure_columns(Trainer(barebones=True, accelerator="cpu"))
    bar = CustomProgress(*columns, loss, console=console)
    bar.update(bar.add_task("Step", total=100_000), completed=12_345)
    console.print(bar.make_tasks_table(bar.tasks))
    told = console.file.getvalue()
    assert "…" not in told
    assert {"12345/100000", "train_loss:", "12.345"} <= set(told.split())
