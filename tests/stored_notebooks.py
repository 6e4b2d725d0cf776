"""Notebooks with the outputs that readers see, kept small.

python tests/stored_notebooks.py [NAME ...] runs notebooks and stores them; all by default.
"""

import base64
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
_PNG, _JPEG = "image/png", "image/jpeg"


def executed(path: Path, folder: Path, timeout: int | None = 280) -> Any:
    """A notebook, run from top to bottom in a folder; `timeout` is for each cell, in seconds."""
    book = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(book, timeout=timeout, kernel_name="python3", resources=where).execute()
    return book


def slim(book: Any) -> None:
    """Leave out what readers do not need: messages of libraries, times, and each picture's second form."""
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
            cell.outputs = outputs
            for output in outputs:
                if _PNG in (data := output.get("data", {})):
                    _shrink(data)
    book.metadata.language_info = {"name": "python"}


def _shrink(data: Any) -> None:
    """Keep the smaller of PNG and JPEG."""
    png = base64.b64decode(data[_PNG])
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(buffer, "JPEG", quality=85)
    jpeg = buffer.getvalue()
    data.pop(_JPEG, None)
    if len(jpeg) < len(png):
        del data[_PNG]
        data[_JPEG] = base64.b64encode(jpeg).decode()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or [path.stem for path in NOTEBOOKS]:
            path = FOLDER / f"{name}.ipynb"
            book = executed(path, Path(folder), timeout=None)
            slim(book)
            nbformat.write(book, path)
