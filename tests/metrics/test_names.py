"""The names of the metrics are those of the metrics."""

import pytest
import torch
from torchmetrics.classification import BinaryAUROC

from padseg.errors import ConfigError
from padseg.metrics import ImageMetrics, PixelMetrics, register
from padseg.metrics.further import FURTHER
from padseg.metrics.names import METRIC_KEYS, METRICS


def test_every_metric_has_its_names():
    image, pixel = ImageMetrics(), PixelMetrics()
    image.update(torch.tensor([0.1, 0.9]), torch.tensor([0, 1]))
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :2, :2] = 1
    pixel.update(torch.rand(1, 1, 8, 8), mask)
    assert (*image.compute(), *pixel.compute()) == METRIC_KEYS


def test_titles_tell_the_metrics_apart_and_headings_have_two_lines():
    assert len({metric.title for metric in METRICS}) == len(METRICS)
    assert len({metric.short_title for metric in METRICS}) == len(METRICS)
    assert {metric.short_title.count("\n") for metric in METRICS} == {1}
    for metric in METRICS:
        assert metric.title.lower().replace(" ", "") == metric.short_title.lower().replace("\n", "")


@pytest.mark.parametrize("name", [*METRIC_KEYS, "pro5", "spro5", "score_map"])
def test_no_metric_takes_the_place_of_a_figure(name):
    with pytest.raises(ConfigError, match=f"'{name}' is a figure of every evaluation: register"):
        register(name, BinaryAUROC, "pixel")
    assert name not in FURTHER
