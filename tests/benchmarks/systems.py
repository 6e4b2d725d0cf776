"""One training step of every system and of PFADSeg's switches, beside DeSTSeg's.

    python tests/benchmarks/systems.py [--size 256] [--batch 8] [--rounds 3] [--device cpu]

The variants take turns, so that a busy machine slows all of them equally; the best round counts. GMAC are the
multiply-adds of convolutions and matrix products, forward and backward, for one image, in billions. `vs GMAC`
is the time relative to DeSTSeg's, divided by the multiply-adds relative to DeSTSeg's.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from padseg.losses import distillation_loss, segmentation_loss
from padseg.machine.precision import default_precision
from padseg.models import (
    NetworkOptions,
    build_segmentation,
    build_student_teacher,
    find_system,
)

SWITCHES: dict[str, dict[str, Any]] = {
    "destseg": {},
    "aff": {"fusion": "aff"},
    "pcar": {"second_conv": "pcar"},
    "pcar, pixels": {"second_conv": "pcar", "recalibration": "pixel"},
    "pcar 1/3/5": {"second_conv": "pcar", "kernels": (1, 3, 5), "dilations": (1, 1, 1)},
    "rcm": {"context": "rcm"},
    "pfadseg": {"fusion": "aff", "second_conv": "pcar", "context": "rcm"},
}
Step = Callable[[], None]


def steps(name: str, batch: dict[str, Tensor], device: str) -> dict[str, Step]:
    """The training steps of a system or a variant, by phase."""
    system = name if name in ("stpm", "rstpm") else "destseg"
    switches = dict(SWITCHES.get(name, {}))
    context = switches.pop("context", None)
    options, parts = NetworkOptions(system, **switches), find_system(system)
    model = build_student_teacher(options, weights="random", weights2="random")
    model = model.to(device, memory_format=torch.channels_last)
    corrupted = batch["corrupted"] if parts.synthetic else None
    made = {
        "distill": _step(
            model, device, lambda: distillation_loss(model(batch["clean"], corrupted), "mean")
        )
    }
    if parts.segmentation:
        network = build_segmentation(options, (64, 128, 256), context=context)
        network = network.to(device, memory_format=torch.channels_last)

        def loss() -> Tensor:
            model.eval()
            with torch.no_grad():
                (pair,) = model(batch["corrupted"])
            return segmentation_loss(network(pair), batch["mask"])

        made["segment"] = _step(network, device, loss)
    return made


def _step(module: torch.nn.Module, device: str, loss: Callable[[], Tensor]) -> Step:
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=1e-3)
    low = default_precision(device) == "bf16-mixed"

    def step() -> None:
        module.train()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=low):
            value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--batch", type=int, default=8, help="images per step")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()

    def image() -> Tensor:
        shape = (options.batch, 3, options.size, options.size)
        return torch.rand(shape).to(options.device, memory_format=torch.channels_last)

    batch = {"clean": image(), "corrupted": image(), "mask": (image()[:, :1] > 0.9).float()}
    variants = {
        (name, phase): step
        for name in ("stpm", "rstpm", *SWITCHES)
        for phase, step in steps(name, batch, options.device).items()
    }
    gmac, best = {}, {}
    for key, step in variants.items():
        with FlopCounterMode(display=False) as counter:
            step()
        gmac[key] = counter.get_total_flops() / 2e9 / options.batch
    for _ in range(options.rounds):
        for key, step in variants.items():
            start = time.perf_counter()
            step()
            best[key] = min(best.get(key, float("inf")), time.perf_counter() - start)
    table = Table("phase", "variant", "GMAC", "seconds", "vs DeSTSeg", "vs GMAC", box=None)
    for phase in ("distill", "segment"):
        base = ("destseg", phase)
        for key in (key for key in variants if key[1] == phase):
            ratio = best[key] / best[base]
            table.add_row(
                *(phase, key[0], f"{gmac[key]:.1f}", f"{best[key]:.2f}", f"{ratio:.2f}"),
                f"{ratio / (gmac[key] / gmac[base]):.2f}",
            )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
