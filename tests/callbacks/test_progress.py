"""What the progress bar shows."""

import pytest
import torch
from lightning import Trainer

from padseg.callbacks import StepBar, progress
from tiny import tiny_data, tiny_student


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, [1, 2, 3]), (1e6, [1, 3])])
def test_bar_counts_steps(seconds, shown, data_root, textures, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS", seconds)
    seen = []

    class Bar(StepBar):
        def _update(self, progress_bar_id, current, **options):
            super()._update(progress_bar_id, current, **options)
            task = self.progress.tasks[progress_bar_id]
            seen.append((task.description, task.completed, task.total))

    data = tiny_data(data_root, textures, image_size=32, batch_size=2)
    torch.manual_seed(0)
    trainer = Trainer(
        default_root_dir=tmp_path,
        max_steps=3,
        log_every_n_steps=1,
        max_epochs=-1,
        accelerator="cpu",
        limit_val_batches=0,
        enable_checkpointing=False,
        logger=False,
        callbacks=[Bar()],
    )
    trainer.fit(tiny_student(image_size=32, lr=0.01), datamodule=data)
    assert seen == [("Step", step, 3) for step in shown]
    assert "v_num" not in trainer.progress_bar_metrics
    assert "train_loss" in trainer.progress_bar_metrics
