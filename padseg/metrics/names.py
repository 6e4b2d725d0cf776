"""The names of the metrics of an evaluation, in the order of columns everywhere."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricName:
    """The names of a metric.

    Attributes:
        key: Name in the results of `PixelMetrics` and `ImageMetrics`, in files and in logs.
        title: Full name.
        short_title: Heading of a narrow column, in two lines.
    """

    key: str
    title: str
    short_title: str


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
FURTHER_METRICS = (
    MetricName("pro5", "PRO up to 5 %", "PRO\n5 %"),
    MetricName("spro5", "sPRO up to 5 %", "sPRO\n5 %"),
    MetricName("aupimo", "AUPIMO", "\nAUPIMO"),
)
"""What evaluations report beside them, but `results.csv` does not hold; plugins may add more."""
METRIC_KEYS = tuple(metric.key for metric in METRICS)
