"""Samples from a list: a CSV or Parquet file with one row per image."""

import csv
import io
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, get_args

from padseg.data.image_files import list_entries
from padseg.data.mask_files import normalised
from padseg.data.samples import GOOD, Sample, Split, is_good
from padseg.errors import DataError
from padseg.machine.files import file_state, leads_out

if TYPE_CHECKING:
    import pandas as pd  # a third of a second, which only lists need

NAMES = ("samples.csv", "samples.parquet")
_NO_DEFECT = {"0", "0.0", "false"}
_SPLITS: dict[str, Split] = {name: name for name in get_args(Split)}
_SPLITS |= dict.fromkeys(("val", "valid"), "validation")


def find_table(root: Path) -> Path | None:
    """The list in a data set's folder, its name in upper or lower case, if there is one."""
    files = {path.name.casefold(): path for path in sorted(list_entries(root).files)}
    return next((files[name] for name in NAMES if name in files), None)


def list_table(
    root: Path, table: Path, category: str, columns: Mapping[str, str] | None = None
) -> list[Sample]:
    """The samples of a category from a list.

    Columns: `path`, below `root`; `split`, `train`, `validation` (or `val`, `valid`) or `test`; `label`, 0 or a
    name for which `is_good` holds for a normal image, else the name of its defect; optionally `mask`, also below
    `root`, and `category`, without which the list is a single category with any name.

    Args:
        root: Folder of the data set.
        table: The list, CSV in UTF-8 or Parquet.
        category: The category whose rows to take. Blanks around cells, the case of the header, and how
            accents are encoded do not matter.
        columns: Other names for these columns.

    Raises:
        DataError: The list cannot be read, lacks a column or the category, or a row is wrong; the message
            names the row.
    """
    rows = _cells(table, file_state(table)).rename(columns=columns or {})
    lacking = [name for name in ("path", "split", "label") if name not in rows]
    if lacking or not rows.columns.is_unique:
        raise DataError(
            f"list {table} has the columns {', '.join(map(str, rows.columns))}: it needs path, split "
            "and label, each once, separated by commas or semicolons."
        )
    if "category" in rows:
        unnamed = rows.index[rows["category"] == ""]
        if len(unnamed):
            raise DataError(f"list {table}, row {unnamed[0]} below the header: category is empty.")
        known = sorted(set(rows["category"]))
        rows = rows[rows["category"] == normalised(category.strip())]
        if rows.empty:
            raise DataError(
                f"category {category!r} does not exist in {table}, which has {', '.join(known) or 'none'}."
            )
    masks = rows["mask"] if "mask" in rows else [""] * len(rows)
    find, samples, named = _finder(root), [], set()
    for index, path, split, label, mask in zip(
        rows.index, rows["path"], rows["split"], rows["label"], masks, strict=True
    ):
        try:
            sample = _sample(find, path, split, label, mask)
            if sample.path in named:
                raise ValueError(f"path {path!r} is in another row already")
            named.add(sample.path)
            samples.append(sample)
        except ValueError as error:
            message = f"list {table}, row {index} below the header: {error}."
            raise DataError(message) from error
    return samples


@lru_cache(maxsize=1)  # a run lists its samples eight times
def _cells(table: Path, state: tuple[int, int, int] | None) -> "pd.DataFrame":
    return _tidy(_read(table))


def _read(table: Path) -> "pd.DataFrame":
    """All cells as text, with the numbers of their rows; cells without a value are empty strings."""
    import pandas as pd

    try:
        if table.suffix.lower() == ".parquet":
            # Whole numbers beside an empty cell become floats: a label 0 would be read as "0.0".
            cells = pd.read_parquet(table).convert_dtypes().astype("string")
            cells.index = pd.RangeIndex(1, len(cells) + 1)
        else:
            cells = _read_csv(table)
        # As objects, because Arrow checks the encoding of a cell only on access.
        return cells.fillna("").astype(object)
    except ImportError as error:
        raise DataError(
            f"list {table} needs pyarrow: pip install 'padseg[parquet]', or write samples.csv."
        ) from error
    except FileNotFoundError as error:
        raise DataError(f"list {table} does not exist: restore the data set's file.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"list {table} cannot be read, as it is not UTF-8: save it as CSV in UTF-8."
        ) from error
    except Exception as error:  # pandas and pyarrow raise any error of their parsers
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"list {table} cannot be read ({reason}): repair or remove it.") from error


def _read_csv(table: Path) -> "pd.DataFrame":
    """The cells as they are: words such as None and NA are names of defects or categories here.

    Blank rows are left out, and count in the numbers of the others.

    Raises:
        ValueError: It is no CSV; or a row has more cells than the header, which pandas would cut off.
    """
    import pandas as pd

    with table.open(encoding="utf-8-sig", newline="") as file:
        text = file.read()
    first = next(iter(text.strip().splitlines()), "")
    # Spreadsheets write semicolons where the comma is the decimal mark.
    delimiter = ";" if ";" in first and "," not in first else ","
    lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    filled = [at for at, line in enumerate(lines) if any(map(str.strip, line))]
    if not filled:
        raise ValueError("it is empty")
    header = lines[filled[0]]
    rows = {at - filled[0]: lines[at] for at in filled[1:]}
    width = len(header)
    for number, row in rows.items():
        if any(cell.strip() for cell in row[width:]):
            raise ValueError(
                f"row {number} below the header has {len(row)} cells, the header {width}; put cells with "
                f"{delimiter!r} in quotes"
            )
    padded = [[*row, *[""] * width][:width] for row in rows.values()]
    return pd.DataFrame(padded, index=list(rows), columns=header, dtype=object)


def _tidy(cells: "pd.DataFrame") -> "pd.DataFrame":
    """Cells and header without blanks around them, accents composed, the header in lower case."""
    import pandas as pd

    names = [normalised(str(name).strip()).casefold() for name in cells.columns]
    cells = cells.map(lambda cell: normalised(cell.strip()))
    cells.columns = pd.Index(names)
    return cells.loc[:, [bool(name or cells.iloc[:, at].any()) for at, name in enumerate(names)]]


def _finder(root: Path) -> Callable[[PurePosixPath], Path]:
    """Finds the file of a list's path, also if accents in its name are encoded otherwise on this disk."""

    @cache  # a list may have thousands of rows for one folder
    def spellings(folder: Path) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in folder.iterdir() if folder.is_dir() else ():
            found.setdefault(normalised(path.name), []).append(path)
        return found

    def find(inside: PurePosixPath) -> Path:
        path = root / inside
        if path.exists():
            return path
        found = root
        for part in inside.parts:
            exact = found / part
            if not exact.exists():
                alike = spellings(found).get(normalised(part), ())
                exact = alike[0] if len(alike) == 1 else exact
            found = exact
        return found if found.exists() else path

    return find


def _sample(
    find: Callable[[PurePosixPath], Path], path: str, split: str, label: str, mask: str
) -> Sample:
    part = _SPLITS.get(split.casefold())
    if part is None:
        raise ValueError(f"split is {split!r}, not train, validation or test")
    if not label:
        raise ValueError("label is empty")
    good = is_good(label) or label.casefold() in _NO_DEFECT
    if part != "test" and not good:
        raise ValueError(f"label is {label!r}, but only normal images are trained on")
    masks = [find(_inside(mask))] if mask else []
    if good:  # some lists give good images empty masks, which need not even exist
        masks = [path for path in masks if path.is_file()]
    return Sample(find(_inside(path)), part, GOOD if good else label, tuple(masks))


def _inside(path: str) -> PurePosixPath:
    """A path of the list, with slashes or backslashes, that cannot leave the folder of the data set."""
    inside = PurePosixPath(path.replace("\\", "/"))
    if not inside.parts or "\0" in path:
        raise ValueError(f"path {path!r} names no file")
    if leads_out(str(inside)):
        raise ValueError(
            f"path {path!r} is absolute or leads out of the data set's folder; give it relative to that"
        )
    return inside
