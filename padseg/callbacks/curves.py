"""The curves behind the metrics of an evaluation."""

import math

from lightning import Trainer

from padseg.callbacks.evaluation import EvaluationCallback, evaluated_dataset
from padseg.metrics.curves import Curve
from padseg.modules.trainer_parts import callbacks_of
from padseg.records import spread

_POINTS = 256


def evaluation_curves(trainer: Trainer, stage: str) -> dict[str, Curve]:
    """The curves of the evaluation that has just ended, with `image` or `pixel` in their names.

    Returns:
        `pixel_precision_recall`, `pixel_roc`, `pro`, `iap`, `image_precision_recall`, `image_roc`;
        undefined curves are left out.
    """
    if getattr(evaluated_dataset(trainer, stage), "defects", True) is None:
        return {}
    for callback in callbacks_of(trainer, EvaluationCallback):
        pixel, image = callback.pixel.curves(), callback.image.curves()
        named = {name if name in ("pro", "iap") else f"pixel_{name}": pixel[name] for name in pixel}
        return named | {f"image_{name}": image[name] for name in image}
    return {}


def thin_out(curve: Curve) -> dict[str, list[float | None]]:
    """At most 256 points of a curve as plain numbers, with None for infinity."""
    at = spread(len(next(iter(curve.values()))), _POINTS)
    return {
        name: [value if math.isfinite(value) else None for value in values[at].tolist()]
        for name, values in curve.items()
    }
