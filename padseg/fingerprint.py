"""What makes two runs comparable: the same data, the same software."""

import hashlib
import platform
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import torch

from padseg import __version__
from padseg.data.layouts import list_samples
from padseg.data.samples import list_images, list_textures

_PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "timm", "albumentations")


def hash_data(root: Path, category: str, layout: str, textures: Path | None = None) -> str:
    """SHA-256 over names and contents of a category's files and of the textures, in hexadecimal."""
    paths = [(root, path) for path in _files(root, category, layout)]
    if textures is not None:
        paths += [(textures, path) for path in list_textures(textures)]
    return _hash(paths, lambda path: bytes.fromhex(hash_file(path)))


def hash_listing(root: Path, category: str, layout: str) -> str:
    """SHA-256 over names and sizes of a category's files: quick, to tell data sets apart."""
    return _hash(((root, path) for path in _files(root, category, layout)), _size)


def hash_folder(folder: Path) -> str:
    """SHA-256 over names and sizes of the images below a folder."""
    return _hash(((folder, path) for path in list_images(folder, recursive=True)), _size)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(root: Path, category: str, layout: str) -> list[Path]:
    samples = list_samples(root, category, layout)
    return [path for sample in samples for path in (sample.path, *sample.masks)]


def _size(path: Path) -> bytes:
    return path.stat().st_size.to_bytes(8, "little")


def _hash(paths: Iterable[tuple[Path, Path]], content: Callable[[Path], bytes]) -> str:
    digest = hashlib.sha256()
    for folder, path in paths:
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(content(path))
    return digest.hexdigest()


def device_name(device: torch.device) -> str:
    """Of a GPU what its maker calls it, of a processor its architecture."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type if device.type != "cpu" else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Of padseg, Python and the packages that results depend on."""
    return {
        "padseg": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }
