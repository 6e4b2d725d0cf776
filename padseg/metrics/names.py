"""What the metrics of an evaluation are called: one table, in the order of columns everywhere."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricName:
    """How a metric is named.

    Attributes:
        key: In what `PixelMetrics` and `ImageMetrics` compute, in files and in logs.
        title: Where there is room.
        short_title: Over a narrow column, two lines.
        higher_is_better: Which end of its range, [0, 1], is the good one.
    """

    key: str
    title: str
    short_title: str
    higher_is_better: bool = True


METRICS = (
    MetricName("image_auroc", "Image AUROC", "image\nAUROC"),
    MetricName("image_ap", "Image AP", "image\nAP"),
    MetricName("image_f1max", "Image F1max", "image\nF1max"),
    MetricName("pixel_auroc", "Pixel AUROC", "pixel\nAUROC"),
    MetricName("pixel_ap", "Pixel AP", "pixel\nAP"),
    MetricName("pixel_f1max", "Pixel F1max", "pixel\nF1max"),
    MetricName("pro", "PRO", "\nPRO"),
    MetricName("iap", "IAP", "\nIAP"),
    MetricName("iap90", "IAP@90", "IAP\n@90"),
)
METRIC_KEYS = tuple(metric.key for metric in METRICS)
