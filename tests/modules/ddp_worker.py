"""Trains a phase on several processes: python ddp_worker.py FOLDER ROOT TEXTURES DEVICES NORMS. Not a test by itself.

Each process saves its losses and pairs as FOLDER/<devices>-<rank>.pt; the first one the weights as well. The
global batch is 4. NORMS: the statistics of the student's BatchNorms are `fixed`, or `synchronised` (on GPUs).
"""

import sys
from pathlib import Path

import torch
from lightning import Callback, Trainer

from padseg.modules import StudentDistillModule
from tiny import tiny_data, tiny_network

STEPS = 5


class FixedStatistics(StudentDistillModule):
    def train(self, mode=True):
        super().train(mode)
        for part in self.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.eval()
        return self


class Record(Callback):
    def __init__(self):
        self.losses, self.pairs = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        # What the step returns is multiplied by the number of processes, as DDP divides by it.
        self.losses.append(outputs["loss"].double().item() / trainer.world_size)
        self.pairs.append({name: value.cpu() for name, value in batch.items()})


def main(folder, root, textures, devices, norms):
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # whose rounding depends on the number of images
    synchronised = norms == "synchronised"
    torch.manual_seed(0)
    data = tiny_data(root, textures, image_size=32, batch_size=4 // devices, val_fraction=0)
    options = tiny_network(image_size=32, lr=0.02)
    module = (StudentDistillModule if synchronised else FixedStatistics)("destseg", **options)
    record = Record()
    trainer = Trainer(
        max_steps=STEPS,
        max_epochs=-1,
        accelerator="gpu" if synchronised else "cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        sync_batchnorm=synchronised,
        use_distributed_sampler=False,
        limit_val_batches=0,
        callbacks=[record],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    weights = module.state_dict() if trainer.global_rank == 0 else None
    found = {"losses": record.losses, "pairs": record.pairs, "weights": weights}
    torch.save(found, Path(folder) / f"{devices}-{trainer.global_rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]), sys.argv[5])
