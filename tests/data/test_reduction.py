"""What reducing masks loses, against a count region by region."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from padseg.data.masks import read_masks
from padseg.data.reduction import count_masks
from padseg.data.samples import Sample
from padseg.metrics.evaluation import MaskCounts


def _samples(folder, masks: list[np.ndarray]) -> list[Sample]:
    samples = []
    for number, mask in enumerate(masks):
        Image.fromarray(mask * np.uint8(255)).save(folder / f"{number}.png")
        samples.append(Sample(folder / "i.png", "test", "cut", (folder / f"{number}.png",)))
    return samples


def test_lost_images_and_regions_are_counted(tmp_path):
    """Regions far apart, so that each is kept or lost on its own."""
    rng = np.random.default_rng(0)
    masks = []
    for _ in range(12):
        mask = np.zeros((400, 300), np.uint8)
        for row, column in rng.permutation(np.argwhere(np.ones((4, 3))))[: rng.integers(1, 5)]:
            height, width = rng.integers(1, 14, 2)
            mask[100 * row + 40 :, 100 * column + 40 :][:height, :width] = 1
        masks.append(mask)
    size = (50, 60)
    images = regions = lost_images = lost_regions = 0
    for mask in masks:
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        kept = 0
        for number in range(1, count + 1):
            Image.fromarray((labels == number).astype(np.uint8)).save(tmp_path / "one.png")
            kept += bool(read_masks([tmp_path / "one.png"], size).any())
        images, regions = images + 1, regions + count
        lost_images, lost_regions = lost_images + (not kept), lost_regions + count - kept
    assert 0 < lost_images < images
    assert 0 < lost_regions < regions
    counts = count_masks(_samples(tmp_path, masks), size)
    assert counts == MaskCounts(images, lost_images, regions, lost_regions)


@pytest.mark.parametrize("size", [None, (64, 64), (200, 90)])
def test_nothing_is_lost_at_their_own_size_or_above(tmp_path, size):
    mask = np.zeros((64, 48), np.uint8)
    mask[3, 4] = mask[20:22, 7:9] = mask[60:, 40:] = 1
    counts = count_masks(_samples(tmp_path, [mask]), size)
    assert counts == MaskCounts(images=1, regions=3)


def test_masks_of_several_files_are_one(tmp_path):
    left, right = np.zeros((2, 64, 64), np.uint8)
    left[:20, :20], right[10:30, 10:40] = 1, 1
    first, second = _samples(tmp_path, [left, right])
    both = Sample(first.path, "test", "cut", first.masks + second.masks)
    assert count_masks([both, Sample(first.path, "test")], None) == MaskCounts(1, 0, 1, 0)
