"""What an evaluation saves, and how it is drawn."""

from padseg.records.drawing import heatmap, outline, overlay, panels
from padseg.records.folder import Records, empty_records, read_records
from padseg.records.pictures import (
    Pictures,
    picture_path,
    remove_pictures,
    shrink,
    write_pictures,
)
from padseg.records.table import (
    COLUMNS,
    TABLE,
    ImageRow,
    choose_images,
    read_table,
    worst_first,
    write_table,
)

__all__ = [
    "COLUMNS",
    "TABLE",
    "ImageRow",
    "Pictures",
    "Records",
    "choose_images",
    "empty_records",
    "heatmap",
    "outline",
    "overlay",
    "panels",
    "picture_path",
    "read_records",
    "read_table",
    "remove_pictures",
    "shrink",
    "worst_first",
    "write_pictures",
    "write_table",
]
