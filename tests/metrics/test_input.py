"""Input that must be refused, and the messages."""

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection
from torchmetrics.wrappers import MetricTracker

from padseg.errors import PadsegError
from padseg.metrics import ImageMetrics, MetricInputError, PixelMetrics

MASK = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
MASK[0, 0, 2:4, 2:4] = True
SCORE = torch.linspace(0, 1, 128).reshape(2, 1, 8, 8)


@pytest.mark.parametrize(
    ("score", "mask", "regions", "words"),
    [
        (SCORE, MASK[:1], None, r"mask must have the shape of score_map.*\(1, 8, 8\).*\(2, 8, 8\)"),
        (SCORE, MASK[..., :4], None, "mask must have the shape of score_map"),
        (
            SCORE[0, 0],
            MASK[0, 0],
            None,
            r"score_map must have the shape \(B, 1, H, W\) or \(B, H, W\)",
        ),
        (SCORE.expand(2, 3, 8, 8), MASK, None, r"shape \(2, 3, 8, 8\)"),
        (SCORE[..., :0], MASK[..., :0], None, "score_map must have the shape"),
        ((SCORE * 255).byte(), MASK, None, "score_map must be floating.*torch.uint8"),
        (SCORE, MASK * 255, None, "Image 0.*mask with other values than 0 and 1"),
        (SCORE, MASK * 0.5, None, "Image 0.*mask with other values than 0 and 1"),
        (SCORE, MASK * 1j, None, "mask must be bool, integer or floating"),
        (SCORE, MASK, MASK.int()[:1], "regions must have the shape of score_map"),
        (SCORE, MASK, MASK.float(), "regions must be integer labels"),
        (SCORE, MASK, 1 - MASK.int(), "Image 0.*regions"),
        (SCORE, MASK, -MASK.int(), "Image 0.*regions"),
        (SCORE, MASK, 2 * MASK.int() - 1, "Image 0.*regions"),
        (SCORE, MASK.to("meta"), None, "on one device.*meta"),
        (SCORE, MASK, MASK.int().to("meta"), "on one device.*meta"),
        (SCORE.to("meta"), MASK, None, r"but the metric is on cpu: call metric.to\('meta'\)"),
    ],
)
def test_bad_maps(score, mask, regions, words):
    metric = PixelMetrics()
    with pytest.raises(MetricInputError, match=words):
        metric.update(score, mask, regions)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e300])
def test_scores_that_are_not_finite_name_the_image(value):
    metric, image = PixelMetrics(), ImageMetrics()
    metric.update(SCORE, MASK)
    image.update(torch.rand(2), torch.tensor([0, 1]))
    score = SCORE.double()
    score[1, 0, 7, 7] = value
    with pytest.raises(ValueError, match=r"Image 3, counted from 0 since the last reset.*NaN"):
        metric.update(score, MASK)
    with pytest.raises(ValueError, match=r"Image 3, counted from 0 since the last reset.*NaN"):
        image.update(torch.tensor([0.5, value], dtype=torch.float64), torch.tensor([0, 1]))
    # What was refused has left no trace.
    alone = PixelMetrics()
    alone.update(SCORE, MASK)
    assert metric.compute() == alone.compute()
    assert float(image.compute()["image_f1max"]) > 0


def test_a_batch_that_forward_refuses_leaves_no_trace():
    metric, image = PixelMetrics(), ImageMetrics()
    metric(SCORE, MASK)
    image(torch.tensor([0.1, 0.9, 0.2, 0.8]), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(ValueError, match=r"Image 2, .*NaN"):
        metric(SCORE * torch.nan, MASK)
    with pytest.raises(ValueError, match=r"Image 5, .*NaN"):
        image(torch.tensor([0.1, torch.nan]), torch.tensor([0, 1]))
    assert (int(metric.images), int(image.images)) == (len(SCORE), 4)
    alone = PixelMetrics()
    alone.update(SCORE, MASK)
    assert metric.compute() == alone.compute()
    assert float(image.compute()["image_auroc"]) == 1


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_unsigned_masks_and_labels(dtype):
    metric, signed = PixelMetrics(), PixelMetrics()
    metric.update(SCORE, MASK.to(dtype))
    signed.update(SCORE, MASK)
    assert metric.compute() == signed.compute()
    with pytest.raises(ValueError, match="mask with other values"):
        metric.update(SCORE, (MASK.long() * 3).to(dtype))
    image = ImageMetrics()
    image.update(torch.tensor([0.1, 0.9]), torch.tensor([0, 1]).to(dtype))
    assert float(image.compute()["image_auroc"]) == 1


def test_flags_that_were_not_raised_in_update_are_raised_in_compute(monkeypatch):
    """As on a device for which `update` does not wait."""
    metric, image = PixelMetrics(), ImageMetrics()
    with monkeypatch.context() as patch:
        patch.setattr("padseg.metrics.checks.raise_bad", lambda *_: None)
        metric.update(SCORE, MASK)
        metric.update(SCORE, MASK.int() * 3)
        image.update(torch.tensor([1.0, torch.nan]), torch.tensor([0, 2]))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"Image 2, counted.*mask with other values"):
            metric.compute()
        with pytest.raises(ValueError, match=r"Image 1, counted.*NaN"):
            image.compute()
    metric.reset()
    metric.update(SCORE, MASK)
    metric.compute()


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
@pytest.mark.parametrize("make", [PixelMetrics, ImageMetrics])
def test_compute_before_update(make):
    metric = make()
    with pytest.raises(MetricInputError, match=f"{make.__name__}.compute was called before update"):
        metric.compute()


@pytest.mark.parametrize(
    ("score", "label", "words"),
    [
        (torch.rand(3), torch.tensor([0, 1]), "label must have the shape of image_score"),
        (torch.rand(3, 1), torch.zeros(3, 1), r"image_score must have the shape \(B,\)"),
        (torch.arange(3), torch.zeros(3), "image_score must be floating"),
        (torch.rand(3), torch.tensor([0, 1, 2]), "Image 2.*label other than 0 and 1"),
        (torch.rand(3), torch.zeros(3, device="meta"), "on one device"),
    ],
)
def test_bad_image_scores(score, label, words):
    with pytest.raises(MetricInputError, match=words):
        ImageMetrics().update(score, label)


@pytest.mark.parametrize(
    "option", [{"fpr_limit": 0.0}, {"fpr_limit": 1.1}, {"recall": 0}, {"overlap": 1.0}]
)
def test_options_out_of_range(option):
    with pytest.raises(MetricInputError, match=f"{next(iter(option))} must lie in"):
        PixelMetrics(**option)


def test_errors_are_of_both_families():
    assert issubclass(MetricInputError, ValueError)
    assert issubclass(MetricInputError, PadsegError)


def test_arrays_count_like_tensors():
    rng = np.random.default_rng(0)
    scores, masks = rng.random((4, 8, 8)), rng.random((4, 8, 8)) > 0.7
    labels = np.array([0, 1, 1, 0])
    reversed_scores = scores[::-1].copy()[::-1]  # negative strides
    for given in (scores, reversed_scores, scores.astype(np.float32)):
        arrays, tensors = PixelMetrics(), PixelMetrics()
        arrays.update(given, masks)
        tensors.update(torch.tensor(given.copy()), torch.tensor(masks))
        assert arrays.compute() == tensors.compute()
    image_arrays, image_tensors = ImageMetrics(), ImageMetrics()
    image_arrays.update(scores[:, 0, 0], labels)
    image_tensors.update(torch.tensor(scores[:, 0, 0]), torch.tensor(labels))
    assert image_arrays.compute() == image_tensors.compute()
    with pytest.raises(ValueError, match="image_score must be a tensor or a NumPy array, got list"):
        ImageMetrics().update([0.5], labels[:1])
    with pytest.raises(ValueError, match="label must hold numbers"):
        ImageMetrics().update(scores[0, 0, :2], np.array(["a", "b"]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int64])
def test_another_dtype_changes_nothing(dtype):
    scores, labels = torch.rand(6), torch.tensor([0, 1, 0, 1, 1, 0])
    maps, masks = torch.rand(2, 1, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    masks[0, :, 2:5, 3:6] = True
    for make, batch in ((ImageMetrics, (scores, labels)), (PixelMetrics, (maps, masks))):
        values = []
        for change in (False, True):
            metric = make()
            for _ in range(2):
                metric.update(*batch)
                if change:
                    assert metric.set_dtype(dtype) is metric
            values.append(metric.compute())
        assert values[0] == values[1]


def test_a_tracker_takes_them_in_a_collection():
    tracker = MetricTracker(MetricCollection([ImageMetrics()]), maximize=True)
    for share in (0.1, 0.9, 0.5):
        tracker.increment()
        tracker.update(torch.tensor([0.0, share, 0.4]), torch.tensor([0, 1, 0]))
    best, step = tracker.best_metric(return_step=True)
    assert best["image_auroc"] == 1
    assert step["image_auroc"] == 1
