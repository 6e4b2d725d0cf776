"""The tables of a folder of results, from its logs."""

import csv
import json
from pathlib import Path
from typing import NamedTuple

from padseg.errors import DataError, count
from padseg.inference.outcomes import Outcome, log_path, read_log
from padseg.inference.tiles import Box
from padseg.machine.files import text_written_whole

_COLUMNS = ("path", "width", "height", "score", "image_score", "anomalous", "regions", "error")
_REGION_COLUMNS = ("path", *Box._fields, "area", "score", "peak")


class Totals(NamedTuple):
    """How many images a folder of results holds.

    Attributes:
        scored: How many have scores.
        anomalous: How many of these are anomalous.
        failed: Outcomes of those that cannot be read, or whose files cannot be written.
    """

    scored: int
    anomalous: int
    failed: list[Outcome]


def write_tables(folder: Path) -> Totals:
    """Turn the log into tables."""
    scored, anomalous, failed = 0, 0, []
    with (
        text_written_whole(folder / "predictions.csv") as table_file,
        text_written_whole(folder / "regions.csv") as region_file,
        text_written_whole(folder / "predictions.json") as objects,
    ):
        table = csv.DictWriter(table_file, _COLUMNS, lineterminator="\n")
        table.writeheader()
        regions = csv.writer(region_file, lineterminator="\n")
        regions.writerow(_REGION_COLUMNS)
        separator = "[\n"
        for outcome in read_log(log_path(folder)):
            values = outcome.to_dict()
            objects.write(separator + json.dumps(values))
            separator = ",\n"
            table.writerow(values | _verdict(outcome))
            for region in outcome.regions:
                size = (*region.box, region.area)
                regions.writerow((outcome.path, *size, region.score, region.peak))
            if outcome.error is not None:
                failed.append(outcome)
            else:
                scored += 1
                anomalous += bool(outcome.anomalous)
        objects.write("\n]\n" if separator != "[\n" else "[]\n")
    return Totals(scored, anomalous, failed)


def summary(totals: Totals, folder: Path, judged: bool) -> str:
    """How many images are in a folder, and how many of them are anomalous if they were `judged`."""
    verb = "is" if totals.anomalous == 1 else "are"
    verdicts = f"; {totals.anomalous} {verb} anomalous" if judged else ""
    return f"{count(totals.scored, 'image')} scored in {folder}{verdicts}."


def raise_failed(totals: Totals, folder: Path, base: Path) -> None:
    """Raise an error if some images failed; their names start from the folder `base`.

    Raises:
        DataError: Some failed; the message has the first one and its reason.
    """
    if not totals.failed:
        return
    first = totals.failed[0]
    failed = len(totals.failed)
    raise DataError(
        f"{failed} of {count(failed + totals.scored, 'image')} could not be read, or not all results written; the "
        f"first is {base / first.path} ({str(first.error).rstrip('.')}): see the column error of "
        f"{folder / 'predictions.csv'}; the others are done."
    )


def _verdict(outcome: Outcome) -> dict[str, int | None]:
    """Verdict and number of regions, as numbers; None without calibration."""
    verdict = outcome.anomalous
    if verdict is None:
        return {"anomalous": None, "regions": None}
    return {"anomalous": int(verdict), "regions": len(outcome.regions)}
