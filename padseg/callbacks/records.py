"""The records of a test: a table, pictures and curves in a folder."""

import os
from pathlib import Path

from lightning import LightningModule, Trainer

from padseg.callbacks.curves import evaluation_curves, thin_out
from padseg.callbacks.images import ImagesCallback
from padseg.machine.files import expanded, write_json
from padseg.records import TABLE, Records, choose_images, remove_pictures, write_table


class RecordsCallback(ImagesCallback):
    """Saves the records of a test in a folder, together with the curves of its metrics.

    `images.csv` has a row for every image; at most `limit` of them keep their pictures. `curves.json`
    has the curves of `PixelMetrics` and `ImageMetrics`: their axes and values, with null for an infinite
    threshold.

    Args:
        folder: Folder for the records; older records in it are removed.
        root: Folder of the data set, to which the paths are relative.
        limit: Largest number of images with pictures.
    """

    def __init__(self, folder: str | Path, root: str | Path, limit: int = 500) -> None:
        super().__init__()
        self.target = expanded(folder)
        self.root = expanded(root)
        self.limit = limit

    def should_record(self, trainer: Trainer, stage: str) -> bool:
        """Whether this is a test."""
        return stage == "test"

    def make_folder(self, trainer: Trainer) -> Path:
        """The given folder."""
        return self.target

    def remove_folder(self, folder: Path) -> None:
        """Keep the records at the end."""

    def show(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, records: Records
    ) -> None:
        """Remove surplus pictures, then write the table; it is last because it marks the records as complete."""
        table = records.table
        kept = set(choose_images(table, self.limit))
        for index in table["index"]:
            if index not in kept:
                remove_pictures(records.folder, index)
        curves = {
            name: thin_out(curve) for name, curve in evaluation_curves(trainer, stage).items()
        }
        write_json(records.folder / "curves.json", curves)
        relative = [Path(os.path.relpath(path, self.root)).as_posix() for path in table["path"]]
        write_table(records.folder / TABLE, table.assign(path=relative))
