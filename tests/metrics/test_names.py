"""The names of the metrics are those of the metrics."""

import torch

from padseg.metrics import ImageMetrics, PixelMetrics
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
