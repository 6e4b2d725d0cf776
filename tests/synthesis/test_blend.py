import pytest
import torch

from padseg.synthesis import blend


@pytest.fixture
def parts():
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(5, 3, 24, 40, generator=generator)
    texture = torch.rand(5, 3, 24, 40, generator=generator)
    mask = (torch.rand(5, 1, 24, 40, generator=generator) > 0.7).float()
    return clean, texture, mask, torch.tensor([0.2, 0.37, 0.5, 0.81, 1.0])


def test_outside_the_mask_the_bits_are_those_of_the_clean_image(parts):
    clean, _, mask, _ = parts
    outside = (mask == 0).expand_as(clean)
    assert (blend(*parts)[outside] == clean[outside]).all()


def test_inside_the_mask_the_value_is_the_weighted_mean(parts):
    clean, texture, mask, opacity = parts
    weight = opacity.view(-1, 1, 1, 1)
    expected = torch.lerp(clean, texture, weight)
    inside = (mask > 0).expand_as(clean)
    torch.testing.assert_close(blend(*parts)[inside], expected[inside])
    assert (blend(*parts)[-1][inside[-1]] == texture[-1][inside[-1]]).all()


def test_range_and_inputs_are_kept(parts):
    clean, texture, mask, opacity = parts
    copies = [part.clone() for part in parts]
    corrupted = blend(torch.ones_like(clean), torch.ones_like(texture), mask, opacity)
    assert (corrupted == 1).all()
    blend(*parts)
    assert all(torch.equal(part, copy) for part, copy in zip(parts, copies, strict=True))


def test_same_bits_for_any_split(parts):
    alone = [blend(*(part[n : n + 1] for part in parts)) for n in range(5)]
    assert (torch.cat(alone) == blend(*parts)).all()
