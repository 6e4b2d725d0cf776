"""What folded batch norms of frozen networks save: a training step, and inference.

    OMP_NUM_THREADS=1 python tests/benchmarks/frozen.py [--only SYSTEM ...] [--size 256] [--batch 2] [--rounds 3]

prints processor milliseconds an image: with all batch norms as they are stored, with those of the teachers
folded, as padseg computes, and with those of everything frozen folded: in phase two also the student's, in
inference also the segmentation network's. The ways take turns, and the best round counts.
"""

import argparse
import copy
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from padseg.losses import distillation_loss, segmentation_loss
from padseg.machine.precision import cpu_has_bfloat16
from padseg.models import NetworkOptions, Teacher, build_segmentation, build_student_teacher
from padseg.models.folding import find_folds, fold_batch_norms

SYSTEMS = ("stpm", "rstpm", "destseg", "pfadseg")
WAYS = ("stored", "teacher folded", "all folded")
Batch = dict[str, Tensor]


class Whole(nn.Module):
    """Teachers and students, and what reads them."""

    def __init__(self, system: str) -> None:
        super().__init__()
        options = NetworkOptions(system)
        self.pairs = build_student_teacher(options, "random", "random")
        two = system in ("destseg", "pfadseg")
        self.head = build_segmentation(options, self.pairs.channels) if two else None
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> object:
        pairs = self.pairs(image)
        return pairs if self.head is None else self.head(pairs[0])


def distil(whole: Whole, batch: Batch) -> None:
    whole.train()
    distillation_loss(whole.pairs(batch["clean"], batch["corrupted"])).backward()


def segment(whole: Whole, batch: Batch) -> None:
    whole.train()
    whole.pairs.eval()
    with torch.no_grad():
        (pair,) = whole.pairs(batch["corrupted"])
    assert whole.head is not None
    segmentation_loss(whole.head(pair), batch["mask"]).backward()


@torch.inference_mode()
def infer(whole: Whole, batch: Batch) -> None:
    whole.eval()
    whole(batch["clean"])


def ways(whole: Whole, phase: Callable[..., None], image: Tensor) -> dict[str, Whole]:
    """The same network with other batch norms folded."""
    made = {name: copy.deepcopy(whole).eval() for name in WAYS}
    for name in ("stored", "all folded"):
        for part in made[name].modules():
            if isinstance(part, Teacher):
                part.folds = ()
    if phase is distil:  # nothing else is frozen
        del made["all folded"]
    else:
        frozen = made["all folded"] if phase is infer else made["all folded"].pairs
        fold_batch_norms(frozen, find_folds(frozen, image))
    return {name: each.to(memory_format=torch.channels_last) for name, each in made.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--batch", type=int, default=2, help="images")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    shape = (options.batch, 3, options.size, options.size)
    draw = partial(torch.rand, shape)
    batch = {
        name: draw().contiguous(memory_format=torch.channels_last)
        for name in ("clean", "corrupted")
    } | {"mask": (draw()[:, :1] > 0.9).float()}
    print(f"| system | | precision | {' | '.join(WAYS)} |\n|---|---|---|---|---|---|")  # noqa: T201
    for system in options.only:
        whole = Whole(system)
        for phase in (distil, segment, infer):
            if phase is segment and whole.head is None:
                continue
            networks = ways(whole, phase, batch["clean"])
            for low in (False, True) if cpu_has_bfloat16() else (False,):
                best = dict.fromkeys(WAYS, float("inf"))
                for _ in range(options.rounds + 1):  # the first round warms up
                    for name, network in networks.items():
                        start = time.process_time()
                        with torch.autocast("cpu", torch.bfloat16, enabled=low):
                            phase(network, batch)
                        best[name] = min(best[name], time.process_time() - start)
                cells = (
                    f"{1000 * best[name] / options.batch:.0f} ({best[name] / best['stored']:.3f})"
                    for name in networks
                )
                kind = "bfloat16" if low else "float32"
                row = " | ".join([system, phase.__name__, kind, *cells])
                print(f"| {row} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
