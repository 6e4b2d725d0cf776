"""Makes the small teacher of `padseg demo` and writes it beside the demo set's code.

The shipped file comes from `--steps 0`, the default: the seeded random initialisation, untrained.
Training is there to be measured against it: `--steps 500 --classes 120 --batch-size 24`.

When it trains, nothing is downloaded and no picture is used that this package does not paint. Each of some hundred
painted textures is a class of its own, as in Exemplar-CNN (Dosovitskiy et al., 2014,
arXiv 1406.6909): an image is put together from turned, scaled and recoloured pieces of several
textures and plain colours, cut by lines, bars, discs and waves, and a linear classifier on each
of the three tapped levels names the texture at every position. So every level has to tell
materials apart where they are, which is what a student is later compared on.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from padseg.data.demo import DEMO_TEACHER
from padseg.data.demo_textures import TEXTURES, texture

_MEAN = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1)
_STD = torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)
_SIDE = 64
_PIECES = 3


def paint_bank(count: int, seed: int) -> Tensor:
    """`count` textures, one a class, uint8 (count, 3, 128, 128)."""
    kinds = sorted(TEXTURES)
    images = [
        texture(kinds[k % len(kinds)], np.random.default_rng([seed, k])) for k in range(count)
    ]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def _uniform(rng: torch.Generator, n: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=rng)


def views(bank: Tensor, chosen: Tensor, rng: torch.Generator) -> Tensor:
    """Turned, scaled and recoloured pieces of the chosen textures, float32 in [0, 1]."""
    n = len(chosen)
    turn = _uniform(rng, n, -0.5, 0.5)
    scale = torch.exp(_uniform(rng, n, math.log(0.35), math.log(0.8)))
    flip = torch.randint(0, 2, (n,), generator=rng) * 2 - 1
    cos, sin = scale * torch.cos(turn), scale * torch.sin(turn)
    x, y = _uniform(rng, n, -0.4, 0.4), _uniform(rng, n, -0.4, 0.4)
    rows = torch.stack((flip * cos, -sin, x), 1), torch.stack((flip * sin, cos, y), 1)
    grid = F.affine_grid(torch.stack(rows, 1), [n, 3, _SIDE, _SIDE], align_corners=False)
    image = F.grid_sample(
        bank[chosen].float() / 255, grid, padding_mode="reflection", align_corners=False
    )
    gain = _uniform(rng, n * 3, 0.85, 1.15).view(n, 3, 1, 1)
    light = _uniform(rng, n, 0.7, 1.2).view(n, 1, 1, 1)
    contrast = _uniform(rng, n, 0.6, 1.1).view(n, 1, 1, 1)
    mean = image.mean((1, 2, 3), keepdim=True)
    return ((image - mean) * contrast + mean) * gain * light


def cuts(n: int, rng: torch.Generator) -> Tensor:
    """Shapes that a piece fills: half planes, bars, discs and waves; float32 (n, 1, side, side)."""
    axis = (torch.arange(_SIDE) + 0.5) / _SIDE - 0.5
    y, x = axis.view(1, -1, 1), axis.view(1, 1, -1)
    turn, bend, reach, kind, cx, cy, wave = (
        _uniform(rng, n, low, high).view(-1, 1, 1)
        for low, high in (
            (0, 6.3),
            (0, 0.1),
            (0.03, 0.35),
            (0, 4),
            (-0.4, 0.4),
            (-0.4, 0.4),
            (4, 25),
        )
    )
    u = torch.cos(turn) * (x - cx) + torch.sin(turn) * (y - cy)
    v = torch.cos(turn) * (y - cy) - torch.sin(turn) * (x - cx)
    u = u + bend * torch.sin(wave * v)
    plane, bar, disc = u, reach * 0.5 - u.abs(), reach - torch.hypot(u, v * 1.4)
    edge = torch.where(kind < 1, plane, torch.where(kind < 2, bar, disc))
    return (edge * _SIDE + 0.5).clamp(0, 1).unsqueeze(1)


def batch(bank: Tensor, n: int, rng: torch.Generator) -> tuple[Tensor, list[Tensor]]:
    """Composed images, normalised, and for each level the class at every position."""
    classes = torch.randint(0, len(bank), (_PIECES, n), generator=rng)
    image = views(bank, classes.flatten(), rng).view(_PIECES, n, 3, _SIDE, _SIDE)
    label = classes[0].view(n, 1, 1).expand(n, _SIDE, _SIDE)
    mixed = image[0]
    for piece in range(1, _PIECES):
        cover = cuts(n, rng)
        mixed = mixed + (image[piece] - mixed) * cover
        label = torch.where(cover[:, 0] > 0.5, classes[piece].view(n, 1, 1), label)
    noise = torch.randn(mixed.shape, generator=rng) * _uniform(rng, n, 0, 0.04).view(-1, 1, 1, 1)
    mixed = ((mixed + noise).clamp(0, 1) - _MEAN) / _STD
    centres = [label[:, s // 2 :: s, s // 2 :: s] for s in (4, 8, 16)]
    return mixed.to(memory_format=torch.channels_last), centres


def train(steps: int, classes: int, size: int, seed: int) -> nn.Module:
    """The trained trunk, in eval mode."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    trunk: Any = timm.create_model("test_resnet", features_only=True, out_indices=(1, 2, 3))
    trunk = trunk.to(memory_format=torch.channels_last).train()
    if steps == 0:
        untrained: nn.Module = trunk.eval()
        return untrained
    heads = nn.ModuleList(nn.Conv2d(c, classes, 1) for c in trunk.feature_info.channels())
    bank = paint_bank(classes, seed)
    parameters = [*trunk.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    start = time.monotonic()
    for step in range(1, steps + 1):
        image, labels = batch(bank, size, rng)
        answers = [head(f) for head, f in zip(heads, trunk(image), strict=True)]
        losses = [F.cross_entropy(a, t) for a, t in zip(answers, labels, strict=True)]
        loss = torch.stack(losses).sum()
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % 50 == 0 or step == steps:
            right = [
                f"{(a.argmax(1) == t).float().mean():.2f}"
                for a, t in zip(answers, labels, strict=True)
            ]
            seconds = time.monotonic() - start
            sys.stdout.write(f"step {step}: right {' '.join(right)}, {seconds:.0f} s\n")
            sys.stdout.flush()
    trained: nn.Module = trunk.eval()
    return trained


def main() -> None:
    """Trains, then writes float16 weights under the keys of timm's features_only model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DEMO_TEACHER)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--classes", type=int, default=320)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.use_deterministic_algorithms(True, warn_only=True)
    trunk = train(options.steps, options.classes, options.batch_size, options.seed)
    state = {
        # The counters of BatchNorm are integers and stay so.
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in trunk.state_dict().items()
    }
    save_file(state, options.out)


if __name__ == "__main__":
    main()
