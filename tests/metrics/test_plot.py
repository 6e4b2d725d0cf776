"""Plots of values and curves, as those of torchmetrics."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from sklearn.metrics import roc_curve

from padseg.metrics import ImageMetrics, PixelMetrics

mpl.use("Agg")


@pytest.fixture
def metric():
    metric = ImageMetrics()
    metric.update(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]))
    yield metric
    plt.close("all")


def test_values_are_points_or_lines_over_the_steps(metric):
    figure, axes = metric.plot()
    assert axes.figure is figure
    shown = {line.get_label(): float(line.get_ydata()[0]) for line in axes.lines}
    assert shown == {name: float(value) for name, value in metric.compute().items()}
    steps = [metric(torch.tensor([0.2, 0.7, 0.1]), torch.tensor([0, 1, step])) for step in (0, 1)]
    _, own = plt.subplots()
    figure, axes = metric.plot(steps, ax=own)
    assert (figure, axes) == (None, own)
    for line in axes.lines:
        expected = [float(step[line.get_label()]) for step in steps]
        assert line.get_ydata().tolist() == pytest.approx(expected)


def test_a_curve_is_that_of_sklearn(metric):
    _, axes = metric.plot_curve("roc")
    (line,) = axes.lines
    fpr, tpr, _ = roc_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], drop_intermediate=False)
    np.testing.assert_allclose(line.get_xydata(), np.stack([fpr, tpr], axis=1))
    assert axes.get_title() == "Image ROC"
    assert axes.get_xlabel() == "false-positive rate"


def test_every_curve_has_axes():
    metric = PixelMetrics()
    rng = np.random.default_rng(0)
    metric.update(rng.random((2, 8, 8)), rng.random((2, 8, 8)) > 0.7)
    titles = [metric.plot_curve(name)[1].get_title() for name in metric.curves()]
    plt.close("all")
    assert titles == [
        *("Pixel precision and recall", "Pixel ROC"),
        *("Per-region overlap (PRO)", "Instance recall and precision (IAP)"),
    ]
    with pytest.raises(
        ValueError, match="curve is 'auroc'; give one of precision_recall, roc, pro"
    ):
        metric.plot_curve("auroc")
