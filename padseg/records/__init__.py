"""What an evaluation saves."""

from padseg.records.folder import Records, empty_records, read_records
from padseg.records.pictures import (
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
    spread,
    worst_first,
    write_table,
)

__all__ = [
    "COLUMNS",
    "TABLE",
    "ImageRow",
    "Records",
    "choose_images",
    "empty_records",
    "picture_path",
    "read_records",
    "read_table",
    "remove_pictures",
    "shrink",
    "spread",
    "worst_first",
    "write_pictures",
    "write_table",
]
