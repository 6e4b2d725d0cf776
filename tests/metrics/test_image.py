"""ImageMetrics against scikit-learn, and its independence of the order."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from padseg.metrics import ImageMetrics


def measure(scores, labels, batch=None):
    metric = ImageMetrics()
    for part, truth in zip(
        scores.split(batch or len(scores)), labels.split(batch or len(scores)), strict=True
    ):
        metric.update(part, truth)
    return {name: float(value) for name, value in metric.compute().items()}


@pytest.mark.parametrize("levels", [None, 5])
def test_equals_scikit_learn(levels):
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(83, generator=generator) < 0.7
    scores = torch.randn(83, generator=generator) * 40 + labels * 30
    if levels:
        scores = (scores / 40 * levels).round()
    found = measure(scores, labels)
    truth, values = labels.numpy(), scores.numpy()
    precision, recall, _ = precision_recall_curve(truth, values)
    f1 = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    assert found == pytest.approx(
        {
            "image_auroc": roc_auc_score(truth, values),
            "image_ap": average_precision_score(truth, values),
            "image_f1max": f1,
        },
        abs=1e-9,
    )
    for batch in (1, 10):
        order = torch.randperm(83, generator=generator)
        assert measure(scores[order], labels[order], batch) == found
    assert measure(scores.double(), labels.long()) == found


def test_curves_equal_scikit_learn():
    generator = torch.Generator().manual_seed(1)
    labels = torch.rand(60, generator=generator) < 0.6
    scores = (torch.randn(60, generator=generator) * 4 + labels * 3).round()  # with ties
    metric = ImageMetrics()
    metric.update(scores[:30], labels[:30])
    metric.update(scores[30:], labels[30:])
    curves = metric.curves()
    assert set(curves) == {"precision_recall", "roc"}
    fpr, tpr, threshold = roc_curve(labels, scores, drop_intermediate=False)
    for name, expected in (("fpr", fpr), ("tpr", tpr), ("threshold", threshold)):
        np.testing.assert_allclose(curves["roc"][name], expected)
    precision, recall, threshold = precision_recall_curve(labels, scores)
    found = curves["precision_recall"]
    # scikit-learn's thresholds ascend, and it adds the point (0, 1).
    np.testing.assert_allclose(found["precision"], precision[-2::-1])
    np.testing.assert_allclose(found["recall"], recall[-2::-1])
    np.testing.assert_allclose(found["threshold"], threshold[::-1])


def test_curves_of_one_class_are_left_out():
    metric = ImageMetrics()
    metric.update(torch.rand(3), torch.zeros(3, dtype=torch.bool))
    with pytest.warns(UserWarning, match="set to nan"):
        assert metric.curves() == {}
    metric.reset()
    metric.update(torch.tensor([0.1, 0.2]), torch.tensor([0, 1]))
    assert set(metric.curves()) == {"precision_recall", "roc"}


def test_life_of_a_metric():
    scores, labels = torch.tensor([0.1, 0.4, 0.3, 0.9]), torch.tensor([0, 0, 1, 1])
    metric = ImageMetrics()
    metric(scores[:2], torch.tensor([0, 1]))
    metric.reset()
    metric.update(scores[:2], labels[:2])
    metric = pickle.loads(pickle.dumps(metric)).to("cpu")
    metric.update(scores[2:], labels[2:])
    assert float(metric.compute()["image_auroc"]) == 0.75
    assert metric.images_seen == 4
    other = ImageMetrics()
    other.update(scores[:0], labels[:0])
    other.update(scores[:3], labels[:3])
    other.compute()
    rest = ImageMetrics()
    rest.update(scores[3:], labels[3:])
    other.merge_state(rest)
    assert float(other.compute()["image_auroc"]) == 0.75


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_nan_with_one_warning(label):
    metric = ImageMetrics()
    metric.update(torch.rand(3), torch.full((3,), label))
    with pytest.warns(UserWarning, match="set to nan") as caught:
        values = metric.compute()
    assert len(caught) == 1
    assert values["image_auroc"].isnan()
    assert values["image_ap"].isnan() == (label == 0)
