"""What several tests of the data begin with."""

import zlib
from pathlib import Path

import numpy as np
import pytest

from padseg.data.layouts import list_samples

SIZE = (40, 56)


@pytest.fixture
def grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def listed(root: Path, category: str, layout: str) -> list[tuple[str, str, str, list[str]]]:
    """The samples of a category in plain values, with paths below the root."""
    return [
        (
            sample.path.relative_to(root).as_posix(),
            sample.split,
            sample.defect,
            [mask.relative_to(root).as_posix() for mask in sample.masks],
        )
        for sample in list_samples(root, category, layout)
    ]
