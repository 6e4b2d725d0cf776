"""Small generated data, and where to find the real images."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from padseg.metrics.calibration import Calibration


def pytest_collection_finish() -> None:
    """Spare the garbage collector the half million objects of the imported libraries, which all stay."""
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let the exit free them, as in `padseg.cli`: Triton would print pages about its own."""
    gc.unfreeze()
    gc.disable()


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def make_category(root: Path, category: str = "widget", size: int = 72, train: int = 12) -> Path:
    """A category in MVTec AD's layout: smooth stripes; defects are bright squares."""
    rng = np.random.default_rng(0)

    def image() -> np.ndarray:
        stripes = 100 + 40 * np.sin(np.arange(size) / 3 + rng.uniform(0, 0.5))
        noise = rng.normal(0, 4, (size, size, 3))
        return np.clip(stripes[None, :, None] + noise, 0, 255).astype(np.uint8)

    folder = root / category
    for index in range(train):
        save(folder / f"train/good/{index:03}.png", image())
    for index in range(3):
        save(folder / f"test/good/{index:03}.png", image())
    for index in range(4):
        pixels, mask = image(), np.zeros((size, size), np.uint8)
        row, column = rng.integers(4, size - 24, 2)
        mask[row : row + 16, column : column + 16] = 255
        pixels[mask > 0] = (250, 30, 30)
        save(folder / f"test/spot/{index:03}.png", pixels)
        save(folder / f"ground_truth/spot/{index:03}_mask.png", mask)
    return folder


def make_textures(root: Path, count: int = 5) -> Path:
    rng = np.random.default_rng(1)
    for index in range(count):
        save(root / f"kind/{index}.png", rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    return root


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Networks and images this small gain nothing from threads, and lose much on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def gpu() -> str:
    """Where the tests marked `gpu` compute; PADSEG_GPU=cpu tries the tests themselves without a GPU."""
    return os.environ.get("PADSEG_GPU", "cuda")


@pytest.fixture(scope="session")
def never_waits(gpu: str) -> Callable[[], AbstractContextManager[None]]:
    """A block within which the host must not wait for the GPU."""

    @contextmanager
    def block() -> Iterator[None]:
        if gpu == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            if gpu == "cuda":
                torch.cuda.set_sync_debug_mode("default")

    return block


@pytest.fixture
def without_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions in full float32, for comparisons with a CPU."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Operations without a deterministic implementation raise."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_category(root)
    return root


@pytest.fixture(scope="session")
def textures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_textures(tmp_path_factory.mktemp("textures"))


@pytest.fixture(scope="session")
def make_calibration():
    """Thresholds as a training or `padseg calibrate` sets them."""

    def make(image_threshold: float, pixel_threshold: float) -> Calibration:
        return Calibration(
            image_threshold,
            pixel_threshold,
            false_alarm_rate=0.01,
            pixel_rate=0.001,
            expected_false_alarm_rate=0.25,
            normal_images=3,
        )

    return make


@pytest.fixture(scope="session")
def assets() -> Path:
    """The real images, textures and weights; see .github/GUIDE.md, "Tests"."""
    folder = os.environ.get("PADSEG_ASSETS")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PADSEG_ASSETS names no folder of real images and weights")
    return Path(folder)
