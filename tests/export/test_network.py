"""The network to deploy: Pillow's resizing, folded norms, small weights."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from padseg.data.images import resize as resize_image
from padseg.export.network import Deployed, resize
from padseg.inference import load_module

from .helpers import SIZE, as_input, pixels


@pytest.mark.parametrize("length", [1, 5, 40, 64, 100, 129, 300])
def test_resize_is_that_of_pillow(length):
    rng = np.random.default_rng(length)
    for shape in (
        *((length, length + 31), (length + 31, length), (10 * length, length)),
        *((900, 40), (48, 64)),
    ):
        image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        expected = resize_image(Image.fromarray(image), (48, 64))
        found = resize(torch.from_numpy(image).permute(2, 0, 1)[None].float(), (48, 64))
        assert np.array_equal(found[0].permute(1, 2, 0).numpy(), np.asarray(expected))


def test_batch_norms_are_folded_by_what_flows(stpm):
    module = load_module(stpm)
    folded = Deployed(module).module
    image = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        torch.testing.assert_close(folded(image)["score_map"], module(image)["score_map"])
    assert not [part for part in folded.modules() if isinstance(part, nn.BatchNorm2d)]


def test_float16_weights_stay_close(stpm):
    module = load_module(stpm)
    images = pixels(2, SIZE, SIZE)
    with torch.no_grad():
        found = Deployed(module, half=True)(torch.from_numpy(images))["score_map"]
        expected = module(as_input(images))["score_map"]
    assert 0 < (found - expected).abs().max() < 5e-3
