"""A small generated set of textures, for those who have not downloaded DTD."""

from pathlib import Path

import numpy as np
from PIL import Image

from padseg.machine.files import written_whole
from padseg.machine.marks import TEXTURE_MARK, save_marked
from padseg.synthesis.textures import TEXTURES, texture

_EACH = 16
_GRID = 256  # pixels


def builtin_textures(folder: Path) -> Path:
    """Write the set into a folder, `<kind>/<number>.jpg`, unless it is there; always the same pictures.

    They are marked, so that no command takes them for images of a data set.

    Returns:
        The folder.
    """
    for index, kind in enumerate(sorted(TEXTURES)):
        for number in range(_EACH):
            path = folder / kind / f"{number:02}.jpg"
            if path.exists():
                continue
            picture = texture(kind, np.random.default_rng([index, number]), _GRID)
            with written_whole(path, durable=False) as draft:
                save_marked(Image.fromarray(picture), draft, TEXTURE_MARK, quality=90)
    return folder
