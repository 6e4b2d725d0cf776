"""Fingerprints of data and software, which tell whether two runs are comparable."""

import hashlib
import platform
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import torch

from padseg import __version__
from padseg.data.image_files import list_images, list_textures
from padseg.data.layouts import list_samples
from padseg.errors import DataError
from padseg.machine.files import hash_file

_PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "timm", "albumentations")


def hash_data(root: Path, category: str, layout: str, textures: Path | None = None) -> str:
    """SHA-256 over the files of a category and the textures: names, contents and roles."""
    files = _files(root, category, layout)
    if textures is not None:
        files += [(textures, path, "texture") for path in list_textures(textures)]
    return _hash(files, lambda path: bytes.fromhex(hash_file(path)))


def hash_listing(root: Path, category: str, layout: str) -> str:
    """Like `hash_data`, but over sizes instead of contents, to distinguish data sets quickly."""
    return _hash(_files(root, category, layout), _size)


def hash_folder(folder: Path) -> str:
    """SHA-256 over names and sizes of the images below a folder."""
    files = [(folder, path, "image") for path in list_images(folder, recursive=True, textures=True)]
    return _hash(files, _size)


_File = tuple[Path, Path, str]  # a folder, a file below it, and the role of the file


def _files(root: Path, category: str, layout: str) -> list[_File]:
    # With split and defect, because a list may move an image without changing any file.
    return [
        (root, path, f"{sample.split} {sample.defect}")
        for sample in list_samples(root, category, layout)
        for path in (sample.path, *sample.masks)
    ]


def _size(path: Path) -> bytes:
    return path.stat().st_size.to_bytes(8, "little")


def _hash(files: Iterable[_File], content: Callable[[Path], bytes]) -> str:
    """SHA-256 over names, roles and contents.

    Raises:
        DataError: A file is missing or cannot be read.
    """
    digest = hashlib.sha256()
    for folder, path, role in files:
        name = path.relative_to(folder).as_posix()
        try:
            digest.update(f"{name}\0{role}\0".encode())
        except UnicodeEncodeError as error:
            raise DataError(f"the name of {str(path)!a} is not UTF-8: rename it.") from error
        try:
            digest.update(content(path))
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}): restore it.") from error
    return digest.hexdigest()


def device_name(device: torch.device) -> str:
    """The name of a GPU, or the architecture of a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type if device.type != "cpu" else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """The versions of padseg, Python and the packages that results depend on."""
    return {
        "padseg": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }
