"""The training of DeSTSeg as published, beside padseg's: data path, both phases, peak memory.

    python tests/benchmarks/training.py [--device cpu] [--image-size 256] [--batch-size 32] [--steps 3]
        [--root mvtec_ad --category bottle --textures dtd/images]

Zhang et al., "DeSTSeg", CVPR 2023. The published procedure decodes both pictures of every sample again,
makes the noise with numpy, trains in contiguous float32, and in both phases runs all networks forward:
teacher on both images, student, segmentation network; in phase two the gradient also flows through the
student, where it is thrown away. Networks and losses are the same here; only the procedure differs.

Both take turns, so that a busy machine slows them alike; the best round counts. The data path runs on
one core. Without --root the pictures are generated, 900x900 PNG and 640x480 JPEG as in MVTec AD and DTD.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import torch
from data_path import picture
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import default_collate

from padseg.data import AnomalyDataModule
from padseg.data.image_files import list_textures
from padseg.data.layouts import list_samples
from padseg.data.pairs import paint_pairs
from padseg.losses import distillation_loss, normalized_product, segmentation_loss
from padseg.machine.peak_memory import peak_memory_mb
from padseg.machine.precision import default_precision
from padseg.models import NetworkOptions, build_segmentation, build_student_teacher
from padseg.models.layers import resize_to
from padseg.models.teacher import IMAGENET_MEAN, IMAGENET_STD, Normalize

Step = Callable[[], object]
PHASES = ("distillation", "segmentation")
WAYS = ("published", "padseg")


def make_pictures(root: Path) -> None:
    """Pictures as large as the real ones."""
    rng = np.random.default_rng(0)
    for folder in ("bottle/train/good", "bottle/test/good", "textures/kind"):
        (root / folder).mkdir(parents=True)
    for index in range(16):
        picture(rng, 900, 900).save(root / f"bottle/train/good/{index:03}.png")
        picture(rng, 480, 640).save(root / f"textures/kind/{index:03}.jpg")


class PublishedData:
    """A sample as in the published code: decoded, turned, painted and normalised on the CPU."""

    def __init__(self, images: list[Path], textures: list[Path], size: int) -> None:
        self.images, self.textures, self.size = images, textures, size
        self.rng = np.random.default_rng(0)
        self.mean = torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
        self.std = torch.tensor(IMAGENET_STD).view(3, 1, 1)

    def read(self, path: Path) -> Image.Image:
        with Image.open(path) as image:
            return image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)

    def perlin(self) -> np.ndarray:
        """Gradient noise on one canvas, then turned as a picture."""
        cells = 2 ** self.rng.integers(0, 6, 2)
        angles = 2 * np.pi * self.rng.random(tuple(cells + 1))
        gradients = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        axes = [np.arange(self.size) * count / self.size for count in cells]
        row, column = np.meshgrid(*axes, indexing="ij")
        top, left = row.astype(int), column.astype(int)
        v, u = row - top, column - left
        fade_v, fade_u = (6 * t**5 - 15 * t**4 + 10 * t**3 for t in (v, u))

        def corner(down: int, right: int) -> np.ndarray:
            gradient = gradients[top + down, left + right]
            return gradient[..., 0] * (v - down) + gradient[..., 1] * (u - right)

        upper = (1 - fade_u) * corner(0, 0) + fade_u * corner(0, 1)
        lower = (1 - fade_u) * corner(1, 0) + fade_u * corner(1, 1)
        noise = np.sqrt(2) * ((1 - fade_v) * upper + fade_v * lower)
        centre = ((self.size - 1) / 2, (self.size - 1) / 2)
        turn = cv2.getRotationMatrix2D(centre, self.rng.uniform(-90, 90), 1)
        return cv2.warpAffine(noise, turn, (self.size, self.size))

    def sample(self) -> dict[str, Tensor]:
        image = self.read(self.images[self.rng.integers(len(self.images))])
        grey = (114, 114, 114)
        for angle in (90 * int(self.rng.integers(4)), self.rng.uniform(-5, 5)):
            image = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=grey)
        texture = self.read(self.textures[self.rng.integers(len(self.textures))])
        mask = (self.perlin() > 0.5)[..., None].astype(np.float32)
        clean = np.asarray(image, np.float32) / 255
        share = self.rng.uniform(0, 0.8)
        mixed = (1 - share) * np.asarray(texture, np.float32) / 255 + share * clean
        corrupted = (1 - mask) * clean + mask * mixed

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array.transpose(2, 0, 1).astype(np.float32))

        return {
            "clean": (tensor(clean) - self.mean) / self.std,
            "corrupted": (tensor(corrupted) - self.mean) / self.std,
            "mask": tensor(mask),
        }

    def batch(self, count: int) -> dict[str, Tensor]:
        batch: dict[str, Tensor] = default_collate([self.sample() for _ in range(count)])
        return batch


class OurData:
    """padseg's own way, with the normalisation that the model does."""

    def __init__(self, data: AnomalyDataModule) -> None:
        data.setup("fit")
        self.data, self.next = data, 0
        self.normalize = Normalize()

    def batch(self, count: int) -> dict[str, Tensor]:
        dataset, first = self.data._train, self.next
        assert dataset is not None
        self.next += count
        drawn = default_collate([dataset[index] for index in range(first, first + count)])
        pairs = paint_pairs(drawn, self.data.synthesis)
        return {
            "clean": self.normalize(pairs["clean"]),
            "corrupted": self.normalize(pairs["corrupted"]),
            "mask": pairs["mask"],
        }


def sgd(groups: list[tuple[torch.nn.Module, float]], **options: bool) -> torch.optim.SGD:
    return torch.optim.SGD(
        [{"params": list(part.parameters()), "lr": lr} for part, lr in groups],
        momentum=0.9,
        weight_decay=1e-4,
        **options,
    )


def published_step(phase: str, batch: dict[str, Tensor], device: str) -> Step:
    """One step of the published loop, which runs everything and uses half of it."""
    model = build_student_teacher(NetworkOptions("destseg"), weights="random").to(device)
    network = build_segmentation(NetworkOptions("destseg"), (64, 128, 256)).to(device)
    student_optimizer = sgd([(model.student, 0.4)])
    network_optimizer = sgd([(network.res, 0.1), (network.head, 0.01)])

    def step() -> None:
        model.student.train(phase == "distillation")
        network.train(phase == "segmentation")
        with torch.no_grad():
            teacher_corrupted = model.teacher(batch["corrupted"])
        sizes = [(x.shape[-2], x.shape[-1]) for x in teacher_corrupted]
        student = model.student(batch["corrupted"], sizes)
        products = [
            resize_to(-normalized_product(t, s), sizes[0])
            for t, s in zip(teacher_corrupted, student, strict=True)
        ]
        features = network.res(torch.cat(products, dim=1))
        logits = network.head(features)
        with torch.no_grad():
            teacher_clean = model.teacher(batch["clean"])
        distillation = distillation_loss([(teacher_clean, student)])
        segmentation = segmentation_loss(logits, batch["mask"])
        if phase == "distillation":
            student_optimizer.zero_grad()
            distillation.backward()
            student_optimizer.step()
        else:
            network_optimizer.zero_grad()
            segmentation.backward()
            network_optimizer.step()

    return step


def our_step(phase: str, batch: dict[str, Tensor], device: str) -> Step:
    """One step of `StudentDistillModule` or `SegmentationModule`."""
    model = build_student_teacher(NetworkOptions("destseg"), weights="random")
    model = model.to(device, memory_format=torch.channels_last)
    model.normalize = torch.nn.Identity()  # the batch is normalised already
    network = build_segmentation(NetworkOptions("destseg"), (64, 128, 256))
    network = network.to(device, memory_format=torch.channels_last)
    batch = {
        name: value.contiguous(memory_format=torch.channels_last) for name, value in batch.items()
    }
    distils = phase == "distillation"
    groups = [(model.student, 0.4)] if distils else [(network.res, 0.1), (network.head, 0.01)]
    optimizer = sgd(groups, fused=True)
    low = default_precision(device) == "bf16-mixed"
    model.train(distils)
    model.requires_grad_(distils)
    model.teacher.requires_grad_(False)

    def loss() -> Tensor:
        if distils:
            return distillation_loss(model(batch["clean"], batch["corrupted"]))
        with torch.no_grad():
            (pair,) = model(batch["corrupted"])
        return segmentation_loss(network(pair), batch["mask"])

    def step() -> None:
        with torch.autocast(device, dtype=torch.bfloat16) if low else nullcontext():
            value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return step


STEPS = {"published": published_step, "padseg": our_step}


def seconds(function: Step, device: str, count: int = 1) -> float:
    """Time of one call."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        function()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / count


def random_batch(options: argparse.Namespace) -> dict[str, Tensor]:
    shape = (options.batch_size, 3, options.image_size, options.image_size)
    image, mask = torch.randn(shape), (torch.rand(shape)[:, :1] > 0.9).float()
    return {
        name: value.to(options.device)
        for name, value in {"clean": image, "corrupted": image, "mask": mask}.items()
    }


def time_data(options: argparse.Namespace, root: Path) -> dict[str, float]:
    """Images per second of both data paths, on one core."""
    textures = options.textures or root / "textures"
    samples = list_samples(root, options.category)
    images = [sample.path for sample in samples if sample.split == "train"]
    ours = AnomalyDataModule(
        str(root), options.category, str(textures), image_size=options.image_size, val_fraction=0
    )
    paths = {
        "published": PublishedData(images, list_textures(textures), options.image_size),
        "padseg": OurData(ours),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    best: dict[str, float] = {}
    for way, path in list(paths.items()) * (options.steps + 1):
        took = seconds(lambda path=path: path.batch(options.batch_size), "cpu")
        best[way] = max(best.get(way, 0), options.batch_size / took)
    torch.set_num_threads(threads)
    return best


def time_steps(options: argparse.Namespace, phase: str) -> dict[str, float]:
    """Seconds of a step, after one to warm up."""
    batch = random_batch(options)
    steps = {way: STEPS[way](phase, batch, options.device) for way in WAYS}
    for step in steps.values():
        step()
    best: dict[str, float] = {}
    for _ in range(options.steps):
        for way, step in steps.items():
            # One step on a GPU is too short to be timed alone.
            took = seconds(step, options.device, 10 if options.device == "cuda" else 1)
            best[way] = min(best.get(way, float("inf")), took)
    return best


def peaks(options: argparse.Namespace) -> Iterator[tuple[str, str, float]]:
    """Peak memory in MiB of two steps of each way and phase, in processes of their own."""
    for phase in PHASES:
        for way in WAYS:
            command = [sys.executable, __file__, "--peak", way, phase, "--device", options.device]
            command += ["--image-size", str(options.image_size)]
            command += ["--batch-size", str(options.batch_size)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            yield way, phase, float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--image-size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3, help="rounds; the best one counts")
    parser.add_argument("--root", type=Path, help="folder of the data set (default: generated)")
    parser.add_argument("--category", default="bottle")
    parser.add_argument("--textures", type=Path)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        way, phase = options.peak
        step = STEPS[way](phase, random_batch(options), options.device)
        seconds(step, options.device, 2)
        sys.stdout.write(f"{peak_memory_mb(torch.device(options.device))}\n")
        return
    memory = {(way, phase): peak for way, phase, peak in peaks(options)}
    table = Table("", *WAYS, "ratio", box=None)
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or Path(folder)
        if options.root is None:
            make_pictures(root)
        rates = time_data(options, root)
    table.add_row("data path, images/s a core", *_row(rates["published"], rates["padseg"], ".1f"))
    for phase in PHASES:
        times = time_steps(options, phase)
        row = _row(times["published"], times["padseg"], ".3f", smaller_is_better=True)
        table.add_row(f"{phase}, s a step", *row)
    for phase in PHASES:
        row = _row(memory["published", phase], memory["padseg", phase], ".0f", True)
        table.add_row(f"{phase}, peak MiB", *row)
    name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    title = (
        f"{options.batch_size} images of {options.image_size} pixels, {name}, "
        f"{torch.get_num_threads()} threads, padseg in {default_precision(options.device)}"
    )
    Console(width=100).print(title, table)


def _row(published: float, ours: float, form: str, smaller_is_better: bool = False) -> list[str]:
    ratio = published / ours if smaller_is_better else ours / published
    return [f"{published:{form}}", f"{ours:{form}}", f"{ratio:.1f}x"]


if __name__ == "__main__":
    main()
