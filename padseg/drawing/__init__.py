"""How images, scores and verdicts are drawn: one look for panels, `detect`, the report and W&B."""

from padseg.drawing.heat import COLOURS, HeatScale, heatmap, opacities
from padseg.drawing.sheet import (
    Banner,
    enlarged,
    judged,
    overlay,
    panels,
    stamped,
    verdict_colour,
)
from padseg.drawing.text import comparison, score_text, score_words, verdict_text

__all__ = [
    "COLOURS",
    "Banner",
    "HeatScale",
    "comparison",
    "enlarged",
    "heatmap",
    "judged",
    "opacities",
    "overlay",
    "panels",
    "score_text",
    "score_words",
    "stamped",
    "verdict_colour",
    "verdict_text",
]
