"""Values of PixelMetrics against published definitions, and their independence of the order."""

import pickle
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics import MetricCollection

from padseg.metrics import AUPIMO, ImageMetrics, MetricInputError, PixelMetrics
from padseg.metrics.curves import CURVE_POINTS
from padseg.metrics.functional import label_regions
from padseg.metrics.maps import MapMetric

KEYS = ["pixel_auroc", "pixel_ap", "pixel_f1max", "pro", "iap", "iap90"]


def golden_sample():
    """Three 8x8 images with three 8-connected regions of 10, 4 and 6 pixels (four if 4-connected)."""
    i, r, c = np.mgrid[0:3, 0:8, 0:8]
    scores = ((7 * r + 11 * c + 5 * i + 3 * r * c) % 64) / 64
    masks = np.zeros((3, 8, 8), dtype=bool)
    masks[0, 1:4, 1:4] = masks[0, 4, 4] = True
    masks[1, 0:2, 6:8] = masks[1, 5:8, 0:2] = True
    scores = np.clip(scores + 0.25 * masks, 0, 1)
    return torch.from_numpy(scores.astype(np.float32)), torch.from_numpy(masks)


@pytest.mark.parametrize("exact", [False, True])
def test_golden_values(measure, exact):
    scores, masks = golden_sample()
    found = measure(scores, masks, exact=exact)
    assert list(found) == KEYS
    expected = {
        "pixel_auroc": 0.7335756,
        "pixel_ap": 0.4323591,
        "pro": 0.4031761,
        "iap": 0.1788467,
        "iap90": 0.1595745,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-7)
    other = measure(scores, masks, exact=exact, fpr_limit=1.0, recall=0.5)
    assert other["pro"] == pytest.approx(0.7151647, abs=1e-7)
    assert other["iap50"] == pytest.approx(0.1595745, abs=1e-7)


@pytest.mark.parametrize("levels", [None, 7])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_equals_literal_definitions(literal, measure, seed, exact, levels):
    scores, masks = literal.sample(seed=seed, levels=levels)
    found = measure(scores, masks, exact=exact, recall=0.7)
    flat, truth = scores.double().numpy().ravel(), masks.numpy().ravel()
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(truth, flat), abs=1e-9)
    assert found["pixel_ap"] == pytest.approx(average_precision_score(truth, flat), abs=1e-9)
    assert found["pixel_f1max"] == pytest.approx(literal.f1(scores, masks), abs=1e-12)
    assert found["pro"] == pytest.approx(literal.pro(scores, masks, 0.3), abs=1e-9)
    iap, iap70 = literal.iap(scores, masks, 0.7)
    assert found["iap"] == pytest.approx(iap, abs=1e-12)
    assert found["iap70"] == pytest.approx(iap70, abs=1e-12)


@pytest.mark.parametrize("limit", [0.01, 0.05, 0.5, 1.0])
def test_pro_limit(literal, measure, limit):
    scores, masks = literal.sample(seed=4, levels=20)
    found = measure(scores, masks, fpr_limit=limit)
    assert found["pro"] == pytest.approx(literal.pro(scores, masks, limit), abs=1e-9)


def test_pro_with_a_point_at_the_limit(measure):
    """Of ten normal pixels the third reaches a rate of 0.3; the fourth is tied with half of the region."""
    scores = torch.tensor([[[0.9, 0.8, 0.7, 0.6, 0.55, 0.5, 0.4, 0.3, 0.2, 0.1, 0.95, 0.6]]])
    masks = torch.zeros(1, 1, 12, dtype=torch.bool)
    masks[..., 10:] = True
    # The other half lies above all of them: an overlap of 0.5 from 0 to the limit.
    assert measure(scores, masks)["pro"] == pytest.approx(0.5, abs=1e-12)
    scores[..., 11] = 0.94
    assert measure(scores, masks)["pro"] == pytest.approx(1, abs=1e-12)


def test_pro_of_small_sets(literal, measure):
    """40 normal pixels with ties, where points of the curve often lie at the limit."""
    generator = np.random.default_rng(0)
    at_limit = 0
    for _ in range(200):
        scores = torch.from_numpy(generator.integers(0, 25, (2, 4, 6)).astype(np.float32) / 25)
        masks = torch.zeros(2, 4, 6, dtype=torch.bool)
        masks.view(-1)[generator.permutation(48)[:8]] = True
        limit = float(generator.choice([0.1, 0.25, 0.3, 0.5]))
        at_limit += any((scores[~masks] >= one).sum() == limit * 40 for one in scores.unique())
        found = measure(scores, masks, fpr_limit=limit)["pro"]
        assert found == pytest.approx(literal.pro(scores, masks, limit), abs=1e-9)
        assert 0 <= found <= 1
    assert at_limit > 50


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.9])
def test_overlap_of_an_instance(literal, measure, overlap):
    scores, masks = literal.sample(seed=5)
    found = measure(scores, masks, overlap=overlap)
    assert found["iap"] == pytest.approx(literal.iap(scores, masks, 0.9, overlap)[0], abs=1e-12)


def test_a_share_that_is_a_whole_number_of_pixels(measure):
    """More than 0.29 of 100 pixels are 30, though 0.29 * 100 is below 29 in floating point."""
    scores, masks = torch.zeros(1, 12, 20), torch.zeros(1, 12, 20, dtype=torch.bool)
    masks[0, :10, :10] = True
    scores[0, :10, :10] = torch.arange(100, 0, -1).reshape(10, 10) / 200
    scores[0, 11] = 71.5 / 200  # normal pixels above the 30th score of the defect, 71
    found = measure(scores, masks, overlap=0.29)
    assert found["iap"] == pytest.approx(30 / 50)


def test_touching_regions_of_the_dataset_stay_apart(measure):
    """Labels decide what is a region, whatever their values, and images do not share them."""
    scores, masks = torch.rand(3, 6, 6), torch.zeros(3, 6, 6, dtype=torch.bool)
    masks[:, 1:3, 1:3] = masks[:, 4:, 4:] = True
    regions = torch.zeros(3, 6, 6, dtype=torch.int64)
    regions[:, 1:3, 1:3], regions[:, 4:, 4:] = 2_000_000_000, 5
    assert measure(scores, masks, regions) == measure(scores, masks)
    split = regions.clone()
    split[0, 1, 1:3] = 7
    assert measure(scores, masks, split)["pro"] != measure(scores, masks)["pro"]


def test_labels_are_8_connected_and_per_image(literal):
    _, masks = literal.sample(seed=6)
    labels = label_regions(masks)
    for found, expected in zip(labels, literal.label_each(masks), strict=True):
        pairs = {(int(a), int(b)) for a, b in zip(found.flatten(), expected.ravel(), strict=True)}
        assert len(pairs) == expected.max() + 1
    per_image = [set(image[image > 0].tolist()) for image in labels]
    assert sum(map(len, per_image)) == len(set().union(*per_image))


def test_scores_of_any_sign_and_size(measure):
    scores = torch.tensor([[[-3e38, -1.0], [-0.0, 0.0], [1e-40, 3e38]]])
    masks = torch.tensor([[[False, False], [True, False], [True, True]]])
    found = measure(scores, masks)
    assert found["pixel_auroc"] == pytest.approx((2 * 3 + 2.5) / 9)
    one_sided = [-0.0, 0.0]
    for zeros in (one_sided, one_sided[::-1]):
        maps = torch.tensor([[zeros]])
        assert measure(maps, torch.tensor([[[True, False]]]))["pixel_auroc"] == 0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_cast_to_float32(literal, measure, dtype):
    scores, masks = literal.sample(seed=10)
    scores = scores.to(dtype)
    expected = measure(scores.float(), masks)
    assert measure(scores, masks) == expected
    assert measure(scores[:, None], masks[:, None].to(dtype)) == expected
    assert measure(scores, masks.to(torch.uint8)) == expected


def test_autocast_and_deterministic_algorithms(literal, measure):
    scores, masks = literal.sample(seed=11)
    expected = measure(scores, masks, max_keys=100)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert measure(scores, masks, max_keys=100) == expected
    torch.use_deterministic_algorithms(True)
    try:
        assert measure(scores, masks, max_keys=100) == expected
    finally:
        torch.use_deterministic_algorithms(False)
    with torch.inference_mode():
        assert measure(scores, masks, max_keys=100) == expected


def test_sizes_of_images_may_differ(literal):
    small, large = literal.sample(seed=12), literal.sample(height=31, width=40, seed=13)
    results = []
    for parts in ((small, large), (large, small)):
        metric = PixelMetrics()
        for scores, masks in parts:
            metric.update(scores, masks)
        results.append({name: float(value) for name, value in metric.compute().items()})
    assert results[0] == results[1]
    assert results[0]["pixel_auroc"] == pytest.approx(
        roc_auc_score(
            torch.cat([masks.flatten() for _, masks in (small, large)]),
            torch.cat([scores.flatten() for scores, _ in (small, large)]),
        ),
        abs=1e-9,
    )


def test_update_keeps_no_view_of_its_input(literal, measure):
    scores, masks = literal.sample(seed=14)
    regions = label_regions(masks)
    metric = PixelMetrics()
    given = [tensor.clone()[:, None] for tensor in (scores, masks, regions)]
    metric.update(*given)
    for tensor in given:
        tensor.zero_()
    assert {k: float(v) for k, v in metric.compute().items()} == measure(scores, masks)


@pytest.mark.parametrize("buffered", [2**22, 500])
def test_metrics_of_one_collection_count_each_for_itself(buffered, monkeypatch):
    """A collection lets metrics with equal states share them."""
    monkeypatch.setattr(PixelMetrics, "max_buffered", buffered)
    options = {
        "plain": {},
        "limited": {"fpr_limit": 0.05},
        "exact": {"exact": True},
        "quarter": {"overlap": 0.25},
    }
    alone = {name: PixelMetrics(**given) for name, given in options.items()}
    together = MetricCollection({name: PixelMetrics(**given) for name, given in options.items()})
    rng = np.random.default_rng(3)
    for _ in range(3):
        score = torch.from_numpy(rng.random((4, 20, 20), dtype=np.float32))
        mask = torch.zeros(4, 20, 20, dtype=torch.bool)
        mask[1:, 4:9, 5:11] = True
        together.update(score, mask)
        for metric in alone.values():
            metric.update(score, mask)
    assert together.compute_groups == {0: ["exact"], 1: ["limited", "plain"], 2: ["quarter"]}
    expected = {f"{name}_{key}": v for name, m in alone.items() for key, v in m.compute().items()}
    assert together.compute() == expected


@pytest.mark.parametrize("exact", [False, True])
def test_life_of_a_metric(literal, measure, exact):
    """Compute in between, forward, pickle, clone, reset."""
    scores, masks = literal.sample(seed=15)
    expected = measure(scores, masks, exact=exact)
    metric = PixelMetrics(exact=exact)
    metric.update(scores[:2], masks[:2])
    metric.compute()
    batch = metric(scores[2:4], masks[2:4])
    assert {k: float(v) for k, v in batch.items()} == measure(scores[2:4], masks[2:4])
    metric = pickle.loads(pickle.dumps(metric)).clone().to("cpu")
    metric.update(scores[4:], masks[4:])
    assert {k: float(v) for k, v in metric.compute().items()} == expected
    assert metric.images_seen == len(scores)
    metric.reset()
    metric.update(scores[:3], masks[:3])
    assert {k: float(v) for k, v in metric.compute().items()} == measure(scores[:3], masks[:3])
    assert metric.images_seen == 3


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("kind", [PixelMetrics, partial(AUPIMO, 1e-2, 0.3)])
def test_metrics_are_merged_as_if_one_had_seen_all(kind, exact, literal, monkeypatch):
    monkeypatch.setattr(MapMetric, "max_keys", 100)
    monkeypatch.setattr(MapMetric, "max_buffered", 1000)
    scores, masks = literal.sample(seed=17)
    whole, first, second, third, total = (kind(exact=exact) for _ in range(5))
    whole.update(scores, masks)
    for metric, part in ((first, slice(1)), (second, slice(1, 5)), (third, slice(5, None))):
        metric.update(scores[part], masks[part])
    second.merge_state(third)  # neither has counted its buffer
    for metric in (first, second):
        metric.compute()
    first.merge_state(second)
    total.merge_state(first.metric_state)
    with warnings.catch_warnings(action="error"):  # as of metrics that were never updated
        assert total.compute() == first.compute() == whole.compute()
    assert total.images_seen == len(scores)
    for other in (kind(exact=not exact), ImageMetrics(), {}):
        with pytest.raises(MetricInputError, match="with the same options, or its metric_state"):
            total.merge_state(other)


def test_curves(literal):
    scores, masks = literal.sample(images=12, height=40, width=40, seed=16)
    metric = PixelMetrics()
    metric.update(scores, masks)
    curves, values = metric.curves(), metric.compute()
    assert set(curves) == {"precision_recall", "roc", "pro", "iap"}
    for curve in curves.values():
        assert len({len(column) for column in curve.values()}) == 1
        assert 2 <= len(curve["threshold"]) <= CURVE_POINTS + 1
        assert (curve["threshold"].diff() <= 0).all()
    roc, pro, pr = curves["roc"], curves["pro"], curves["precision_recall"]
    area = torch.trapezoid(roc["tpr"], roc["fpr"])
    assert float(area) == pytest.approx(float(values["pixel_auroc"]), abs=1e-3)
    assert float(pro["pro"][-1]) == float(roc["tpr"][-1]) == float(pr["recall"][-1]) == 1
    found = scores >= pr["threshold"][100]
    assert float(pr["precision"][100]) == pytest.approx(float(masks[found].double().mean()))
    assert float(pr["recall"][100]) == pytest.approx(float((found & masks).sum() / masks.sum()))
    assert float(curves["iap"]["precision"].max()) <= 1
    metric.reset()
    metric.update(scores[-2:], masks[-2:])
    with pytest.warns(UserWarning, match="no defect pixel"):
        assert metric.curves() == {}


def test_constant_maps_are_fine(measure):
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, :2, :2] = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measure(torch.full((2, 4, 4), 0.3), masks)
    # One point: half of everything, and of PRO the triangle below the limit.
    expected = [0.5, 4 / 32, 2 * 4 / (4 + 32), 0.15, 4 / 32, 4 / 32]
    assert list(found.values()) == pytest.approx(expected)


def test_one_pixel_instance(measure):
    masks = torch.zeros(1, 5, 5, dtype=torch.bool)
    masks[0, 2, 2] = True
    assert list(measure(masks.float(), masks).values()) == pytest.approx([1] * 6)
    assert measure(1 - masks.float(), masks)["iap"] == pytest.approx(1 / 25)


@pytest.mark.parametrize(
    ("images", "mask", "undefined"),
    [
        (2, False, KEYS),
        (2, True, ["pixel_auroc", "pro"]),
        (0, False, KEYS),
    ],
)
def test_undefined_metrics_are_nan_with_one_warning(images, mask, undefined):
    metric = PixelMetrics()
    metric.update(torch.rand(images, 1, 4, 4), torch.full((images, 1, 4, 4), mask))
    with pytest.warns(UserWarning, match="set to nan") as caught:
        values = metric.compute()
    assert len(caught) == 1
    assert [name for name, value in values.items() if value.isnan()] == undefined


@pytest.mark.gpu
@pytest.mark.usefixtures("deterministic")
def test_a_gpu_equals_the_cpu_without_waiting(literal, measure, gpu, never_waits):
    scores, masks = literal.sample(images=8, height=64, width=64, seed=17)
    regions = label_regions(masks)
    metric = PixelMetrics().to(gpu)
    metric.max_keys = 500
    on_device = [tensor.to(gpu) for tensor in (scores, masks, regions)]
    with never_waits():
        for start in range(0, 8, 3):
            metric.update(*(tensor[start : start + 3] for tensor in on_device))
    values = {name: float(value) for name, value in metric.compute().items()}
    assert values == measure(scores, masks, max_keys=500)
    exact = PixelMetrics(exact=True).to(gpu)
    exact.update(*on_device)
    assert {k: float(v) for k, v in exact.compute().items()} == measure(scores, masks, exact=True)


@pytest.mark.gpu
def test_flags_of_a_gpu_are_raised_in_compute(gpu, never_waits):
    metric = PixelMetrics().to(gpu)
    scores = torch.rand(3, 8, 8, device=gpu)
    scores[1, 2, 3] = torch.nan

    def evaluate():
        with never_waits():  # so that `update` does not know yet
            metric.update(scores, scores > 0.5)
        metric.compute()

    with pytest.raises(ValueError, match="Image 1, counted from 0"):
        evaluate()
