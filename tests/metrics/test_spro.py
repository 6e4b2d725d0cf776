"""sPRO against its definition, evaluated threshold by threshold and defect by defect."""

import numpy as np
import pytest
import torch

from padseg.metrics import SPRO, MetricInputError, PixelMetrics

from .conftest import label_each, make_sample


def make_defects(seed=0, images=5, height=18, width=22, levels=None):
    """Scores, defects that overlap and have several parts, and their saturations, image by image."""
    generator = np.random.default_rng(seed)
    found = []
    for image in range(images):
        defects = np.zeros((image % 4, height, width), bool)
        for defect in defects:
            for _ in range(generator.integers(1, 3)):
                y, x = generator.integers(0, height - 8), generator.integers(0, width - 8)
                defect[y : y + generator.integers(1, 8), x : x + generator.integers(1, 8)] = True
        area = defects.sum((1, 2))
        saturation = np.maximum(1, (area * generator.random(len(area))).astype(np.int64))
        scores = generator.random((height, width)) + 0.4 * defects.any(0)
        if levels:
            scores = np.round(scores * levels) / levels
        found.append((scores.astype(np.float32), defects, saturation))
    return found


def literal_spro(sample, limit):
    values = np.concatenate([scores.ravel() for scores, _, _ in sample])
    normal = np.concatenate([scores[~defects.any(0)] for scores, defects, _ in sample])
    regions = [
        (scores[defect], needed)
        for scores, defects, saturation in sample
        for defect, needed in zip(defects, saturation, strict=True)
    ]
    fpr, covered = [0.0], [0.0]
    for threshold in np.unique(values)[::-1]:
        fpr.append((normal >= threshold).mean())
        covered.append(np.mean([min((own >= threshold).sum() / n, 1) for own, n in regions]))

    # Vertical steps do not change the area; of equal rates, the last point continues the curve.
    area = 0.0
    for k in range(1, len(fpr)):
        left, right = fpr[k - 1], min(fpr[k], limit)
        if right > left:
            slope = (covered[k] - covered[k - 1]) / (fpr[k] - left)
            area += (right - left) * (covered[k - 1] + slope * (right - left) / 2)

    return area / limit


def computed(sample, **options):
    metric = SPRO(**options)
    for scores, defects, saturation in sample:
        metric.update(
            torch.from_numpy(scores)[None, None],
            torch.from_numpy(defects),
            torch.from_numpy(saturation),
        )
    return metric


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("levels", [None, 6])
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("exact", [False, True])
def test_spro_is_its_definition(seed, levels, limit, exact):
    sample = make_defects(seed, levels=levels)
    value = computed(sample, fpr_limit=limit, exact=exact).compute().item()
    assert value == pytest.approx(literal_spro(sample, limit), abs=1e-9)
    assert 0 < value < 1


def test_the_order_of_images_changes_nothing_even_with_few_keys(monkeypatch):
    monkeypatch.setattr(SPRO, "max_keys", 40)
    sample = make_defects(3, images=7)
    forwards, backwards = computed(sample), computed(sample[::-1])
    assert forwards.compute().item() == backwards.compute().item()
    assert int(forwards.shift) == int(backwards.shift) > 0
    assert forwards.compute().item() == pytest.approx(literal_spro(sample, 0.05), abs=0.02)


def test_whole_regions_are_those_of_pro():
    scores, masks = make_sample(seed=4)
    pixel, metric = PixelMetrics(fpr_limit=0.2), SPRO(fpr_limit=0.2)
    pixel.update(scores[:, None], masks[:, None])
    for score, labels in zip(scores, label_each(masks), strict=True):
        defects = torch.from_numpy(
            np.stack([labels == n for n in range(1, labels.max() + 1)] or [labels > 0])
        )
        defects = defects[defects.flatten(1).any(1)]
        metric.update(score[None, None], defects, defects.flatten(1).sum(1))
    assert metric.compute().item() == pytest.approx(pixel.compute()["pro"].item(), abs=1e-9)


def test_wrong_saturations_are_refused():
    score, defects = torch.rand(1, 1, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool)
    for wrong in ([0], [17], [1, 2], []):
        with pytest.raises(MetricInputError, match=r"saturation must be from 1 to the area"):
            SPRO().update(score, defects, torch.tensor(wrong))
    with pytest.raises(MetricInputError, match="fpr_limit must lie in"):
        SPRO(fpr_limit=0)


def test_without_defects_it_is_undefined():
    metric = SPRO()
    metric.update(torch.rand(1, 1, 4, 4), torch.zeros(0, 4, 4, dtype=torch.bool), torch.zeros(0))
    assert metric.compute().isnan()
