"""The parts of the page that are plain HTML: the verdict, and the table of regions."""

import html
from collections.abc import Sequence

from padseg.drawing import score_text, verdict_colour
from padseg.inference import Region
from padseg.inference.tiles import Box

CSS = """
.verdict { color: white; padding: .6rem 1rem; border-radius: .4rem; overflow-wrap: anywhere; }
.verdict span { color: white; margin-right: 1.5rem; font-size: 1.2rem; }
.verdict span:first-child { font-size: 1.6rem; font-weight: 700; }
.verdict span:last-child { font-size: 1rem; }
.regions { font-variant-numeric: tabular-nums; }
.regions caption { text-align: left; }
.regions th, .regions td { text-align: right; padding: .15rem .5rem; font-size: .9rem; }
#all .grid-wrap { min-height: 0; max-height: 22rem; padding: .3rem; overflow-y: auto; }
#all .grid-container { gap: .3rem; }
"""
_COLUMNS = (*Box._fields, "area", "score")
_MOST = 50  # regions that are listed


def verdict_bar(parts: Sequence[str], alarm: bool | None) -> str:
    """The verdict, in the colours of the pictures that `detect` writes.

    Args:
        parts: The verdict and what follows it, such as the score and the name.
        alarm: See `padseg.drawing.Banner`.
    """
    spans = "".join(f"<span>{html.escape(part)}</span>" for part in parts)
    return f'<div class="verdict" style="background: {verdict_colour(alarm)}">{spans}</div>'


def region_table(regions: Sequence[Region]) -> str:
    """The regions, the highest score first; empty without any."""
    if not regions:
        return ""
    rows = [[*region.box, region.area, score_text(region.score)] for region in regions]
    listed = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows[:_MOST])
    more = f" (the first {_MOST} of {len(rows)})" if len(rows) > _MOST else ""
    return (
        f'<table class="regions"><caption>Regions above the threshold, in pixels{more}</caption>'
        f"<thead><tr>{_cells('th', _COLUMNS)}</tr></thead><tbody>{listed}</tbody></table>"
    )


def _cells(tag: str, values: Sequence[object]) -> str:
    return "".join(f"<{tag}>{value}</{tag}>" for value in values)
