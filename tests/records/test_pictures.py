"""The small pictures of an evaluation."""

import numpy as np
import torch
from PIL import Image

from padseg.records import shrink, write_pictures
from padseg.records.pictures import RecordPictures


def test_large_images_shrink_and_small_defects_stay():
    mask = torch.zeros(1, 1, 100, 300)
    mask[0, 0, 50, 150] = 1
    batch = {"image": torch.ones(1, 3, 100, 300), "mask": mask, "score_map": mask / 2}
    ((image, score_map, small),) = shrink(batch, [(100, 300)], 60)
    assert image.shape == (20, 60, 3)
    assert (image == 255).all()
    assert score_map.shape == (20, 60)
    assert small.sum() == 1
    assert small[10, 30]


def test_pictures_have_the_aspect_ratio_of_their_images():
    half = torch.cat([torch.ones(1, 1, 40, 20), torch.zeros(1, 1, 40, 20)], dim=3).repeat(
        2, 1, 1, 1
    )
    batch = {"image": half.repeat(1, 3, 1, 1), "mask": half, "score_map": half}
    wide, square = shrink(batch, [(300, 1200), (77, 77)], 64)
    for image, score_map, mask in (wide, square):
        assert image.shape == (*score_map.shape, 3) == (*mask.shape, 3)
        width = mask.shape[1]
        assert mask[:, : width // 2].all()
        assert not mask[:, width // 2 :].any()
        assert (score_map[:, : width // 2 - 1] == 65535).all()
        assert (image[:, width // 2 + 1 :] == 0).all()
    assert wide[2].shape == (10, 40)
    assert square[2].shape == (40, 40)


def test_pictures_survive_writing(tmp_path):
    for name in ("maps", "thumbs", "masks"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(0)
    score_map = rng.integers(0, 65536, (9, 7)).astype(np.uint16)
    mask = rng.random((9, 7)) < 0.5
    image = np.zeros((9, 7, 3), np.uint8)
    write_pictures(tmp_path, 12, RecordPictures(image, score_map, mask))
    with Image.open(tmp_path / "maps/00012.png") as image:
        assert (np.array(image) == score_map).all()
    with Image.open(tmp_path / "masks/00012.png") as image:
        assert image.mode == "1"
        assert (np.array(image) == mask).all()
