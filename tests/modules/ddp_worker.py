"""Trains a phase on several processes: python ddp_worker.py FOLDER ROOT TEXTURES DEVICES NORMS. Not a test by itself.

Each process saves its losses and pairs as FOLDER/<devices>-<rank>.pt; the first one the weights as well. The
global batch is 4. NORMS: the statistics of the student's BatchNorms are `fixed`, `synchronised` (on GPUs) or `local`;
with local ones, the last step is validated.
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


class Statistics(Callback):
    """Running mean of the first BatchNorm of the student: from its input, after each step, when evaluated."""

    def __init__(self):
        self.expected, self.trained, self.evaluated = 0, [], []

    def setup(self, trainer, pl_module, stage):
        parts = pl_module.student_teacher.student.modules()
        self.norm = next(part for part in parts if isinstance(part, torch.nn.BatchNorm2d))
        self.norm.register_forward_pre_hook(self.see)

    def see(self, norm, inputs):
        if norm.training:
            (x,) = inputs
            self.expected = 0.9 * self.expected + 0.1 * x.detach().mean((0, 2, 3))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.trained.append((self.expected, self.norm.running_mean.clone()))

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.evaluated.append(self.norm.running_mean.clone())


def main(folder, root, textures, devices, norms):
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # whose rounding depends on the number of images
    synchronised, local = norms == "synchronised", norms == "local"
    share = 0.25 if local else 0
    torch.manual_seed(0)
    data = tiny_data(root, textures, image_size=32, batch_size=4 // devices, val_fraction=share)
    options = tiny_network(image_size=32, lr=0.02)
    kind = FixedStatistics if norms == "fixed" else StudentDistillModule
    module, record, statistics = kind("destseg", **options), Record(), Statistics()
    trainer = Trainer(
        max_steps=STEPS,
        max_epochs=-1,
        accelerator="gpu" if synchronised else "cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        sync_batchnorm=synchronised,
        use_distributed_sampler=False,
        limit_val_batches=1.0 if local else 0,
        val_check_interval=STEPS,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        callbacks=[record, statistics] if local else [record],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    weights = module.state_dict() if trainer.global_rank == 0 else None
    found = {"losses": record.losses, "pairs": record.pairs, "weights": weights}
    if local:
        final = statistics.norm.running_mean
        found |= {"trained": statistics.trained, "evaluated": statistics.evaluated, "final": final}
    torch.save(found, Path(folder) / f"{devices}-{trainer.global_rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]), sys.argv[5])
