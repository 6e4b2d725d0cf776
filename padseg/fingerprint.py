"""What makes two runs comparable: the same data, the same software."""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

from padseg import __version__
from padseg.data.layouts import list_samples
from padseg.data.samples import list_textures

_PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "timm", "albumentations")


def hash_data(root: Path, category: str, layout: str, textures: Path | None = None) -> str:
    """SHA-256 over names and contents of a category's files and of the textures, in hexadecimal."""
    samples = list_samples(root, category, layout)
    paths = [(root, path) for s in samples for path in (s.path, *s.masks)]
    if textures is not None:
        paths += [(textures, path) for path in list_textures(textures)]
    digest = hashlib.sha256()
    for folder, path in paths:
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Of padseg, Python and the packages that results depend on."""
    return {
        "padseg": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }
