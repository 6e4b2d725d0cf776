"""A picture of what training sees: clean image, texture, mask and corrupted image of each sample."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from padseg.data.datamodule import AnomalyDataModule
from padseg.errors import ConfigError, DataError
from padseg.machine.files import written_whole
from padseg.machine.marks import require_own, save_marked

_COLUMNS = ("clean", "texture", "mask", "corrupted")
_MOST = 1000  # rows of a grid
_GAP = 4
_LINE = 18  # pixels of a line of text
_INK, _PAPER = (40, 40, 40), (255, 255, 255)


def preview(data: AnomalyDataModule, start: int, n: int) -> Image.Image:
    """The training samples [start, start + n), exactly as `AnomalyDataModule.pairs` returns them.

    Returns:
        A grid with one row per sample: clean image, texture, mask and corrupted image at their own size,
        with column names above and the number of the sample on the left; only the clean image for data
        without synthesis.

    Raises:
        ConfigError: There is no such sample.
        DataError: The data cannot be set up.
    """
    if start < 0 or not 1 <= n <= _MOST:
        raise ConfigError(
            f"preview of {n} samples from {start}: start counts from 0, n from 1 to {_MOST}."
        )
    pairs = data.pairs(start, n)
    columns = [name for name in _COLUMNS if name in pairs]
    cells = torch.stack([pairs[name].expand_as(pairs["clean"]) for name in columns], dim=1)
    return draw_grid(cells, columns, [str(start + row) for row in range(n)])


def draw_grid(cells: Tensor, columns: Sequence[str], rows: Sequence[str]) -> Image.Image:
    """Draw pictures in a grid, with the names of the columns above and those of the rows on the left.

    `cells` are (rows, columns, 3, H, W) in [0, 1].
    """
    height, width = cells.shape[-2:]
    grid = make_grid(cells.flatten(0, 1), nrow=len(columns), padding=_GAP, pad_value=1.0)
    font = ImageFont.load_default(12)
    margin = math.ceil(max(font.getlength(name) for name in rows)) + 2 * _GAP
    page = Image.new("RGB", (margin + grid.shape[2], _LINE + grid.shape[1]), _PAPER)
    page.paste(to_pil_image((grid * 255).round().byte()), (margin, _LINE))
    pen = ImageDraw.Draw(page)
    for column, name in enumerate(columns):
        left = margin + _GAP + column * (width + _GAP)
        pen.text((left + width / 2, _LINE / 2), name, _INK, font, anchor="mm")
    for row, name in enumerate(rows):
        top = _LINE + _GAP + row * (height + _GAP)
        pen.text((margin - 1, top + height / 2), name, _INK, font, anchor="rm")
    return page


def write_preview(data: AnomalyDataModule, start: int, n: int, out: Path) -> None:
    """Write the preview as a picture, in the format of its suffix.

    Raises:
        ConfigError: There is no such sample, or no format for the suffix.
        DataError: The data cannot be set up, or the picture cannot be written, or is not padseg's.
    """
    if Image.registered_extensions().get(out.suffix.lower()) not in Image.SAVE:
        raise ConfigError(f"picture {out} has no known suffix: name it {out.stem}.png, say.")
    require_own(out)
    page = preview(data, start, n)
    try:
        with written_whole(out) as draft:
            save_marked(page, draft)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"picture {out} cannot be written ({reason}): pass another --out."
        ) from error
