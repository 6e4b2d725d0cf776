"""Fills the memories of two teachers: python memory_worker.py FOLDER ROOT DEVICES. Not a test by itself.

The global batch is 4. The first process saves the weights as FOLDER/<devices>.pt.
"""

import sys
from pathlib import Path

import torch
from lightning import Trainer

from tiny import TRANSFORMER, tiny_data, tiny_student


def main(folder, root, devices):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = tiny_data(root, image_size=32, batch_size=4 // devices, val_fraction=0)
    module = tiny_student("tedseg", image_size=32, **TRANSFORMER)
    trainer = Trainer(
        max_steps=6,
        max_epochs=-1,
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        use_distributed_sampler=False,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    if trainer.global_rank == 0:
        torch.save(module.state_dict(), Path(folder) / f"{devices}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:3], int(sys.argv[3]))
