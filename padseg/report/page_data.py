"""The data for the scripts of the report page, as plain records.

Shares and scores are in [0, 1]; undefined values are None.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from padseg import __version__
from padseg.drawing import COLOURS, HeatScale, opacities
from padseg.metrics.curves import AXIS_TITLES, CURVES, CurveAxes
from padseg.metrics.names import FURTHER_METRICS, METRIC_KEYS, METRICS, MetricName
from padseg.report.papers import Figure, comparable, read_published, read_sources, summarise
from padseg.report.pictures import PagePictures
from padseg.report.runs import FinishedRun, further_metrics, resolutions, results, warnings_of
from padseg.report.trainings import Losses

Spread = tuple[float | None, float | None]
"""Mean over seeds and its sample standard deviation."""


@dataclass(frozen=True)
class SeedRow:
    """The results of one seed.

    Attributes:
        seed: The seed.
        values: Values by metric.
        minutes: Minutes of training.
    """

    seed: int
    values: dict[str, float | None]
    minutes: float | None


@dataclass(frozen=True)
class SummaryRow:
    """A row of the table of results.

    Attributes:
        category: The category; None for all of them together.
        label: Name of the variant.
        system: Its system.
        categories: Number of categories that the row covers.
        seeds: The seeds, ascending.
        values: Mean and spread by metric.
        minutes: Mean minutes of training.
        each: One row per seed; none for all categories together.
    """

    category: str | None
    label: str
    system: str
    categories: int
    seeds: list[int]
    values: dict[str, Spread]
    minutes: float | None
    each: list[SeedRow]


@dataclass(frozen=True)
class PublishedRow:
    """The published figures of a method on a category.

    Attributes:
        category: The category.
        method: Name of the method.
        source: The paper.
        link: Link to the paper.
        note: Remark for readers.
        values: From metric to mean and spread.
    """

    category: str
    method: str
    source: str
    link: str
    note: str
    values: dict[str, Spread]


@dataclass(frozen=True)
class PageImage:
    """A test image.

    Attributes:
        path: Path of the file, relative to the data set.
        defect: Kind of defect.
        label: 1 for a defect image, 0 for a normal one.
        image: The picture as a data URI; None if it is not in the page.
        mask: The mask of a defect image, likewise.
    """

    path: str
    defect: str
    label: int
    image: str | None
    mask: str | None


@dataclass(frozen=True)
class PageRun:
    """A run.

    Attributes:
        label: Name of the variant.
        system: Its system.
        category: The category.
        seed: The seed.
        threshold: Threshold of `scores`; None without calibration.
        scores: Scores by path of the image: normalised or, without calibration, raw.
        maps: Score maps as data URIs, by path of the image.
        pixel_threshold: Calibrated threshold on score maps, at level 128 of the maps.
        top: Without it, the score at level 255; level 0 is score 0.
        curves: Axes and their values by name of the curve.
        losses: Pairs of step and training loss by phase.
        options: Options of each phase by name.
        software: Versions, devices and precision.
    """

    label: str
    system: str
    category: str
    seed: int
    threshold: float | None
    scores: dict[str, float]
    maps: dict[str, str]
    pixel_threshold: float | None
    top: float
    curves: dict[str, dict[str, list[float | None]]]
    losses: Losses
    options: dict[str, str]
    software: dict[str, str]


@dataclass(frozen=True)
class Heat:
    """The colours of score maps, as `padseg.drawing` has them.

    Attributes:
        colours: Red, green and blue of each of 256 levels.
        calibrated: Opacity of each level over an image, with a pixel threshold.
        uncalibrated: Likewise, without one.
    """

    colours: list[list[int]]
    calibrated: list[float]
    uncalibrated: list[float]


@dataclass(frozen=True)
class PageData:
    """The data of the whole page.

    Attributes:
        title: Title of the page.
        heat: Colours and opacities of the levels of score maps.
        version: Version of padseg.
        metrics: Names of the metrics, in the order of the columns.
        further: Those of them that are shown on demand.
        axes: How each curve is drawn, in the order of the charts.
        axis_titles: Title of each axis by name.
        summary: The rows of the table of results.
        published: The published rows beside them.
        images: Test images by category.
        runs: The runs.
        left_out: Number of images whose pictures did not fit.
        missing: Folders of runs, and what could not be read in them.
        resolutions: At which size the pixel figures of a variant were computed, in words, by label.
        warnings: Names of runs, and what may have changed their figures or makes them incomparable.
    """

    title: str
    heat: Heat
    version: str
    metrics: tuple[MetricName, ...]
    further: list[str]
    axes: dict[str, CurveAxes]
    axis_titles: dict[str, str]
    summary: list[SummaryRow]
    published: list[PublishedRow]
    images: dict[str, list[PageImage]]
    runs: list[PageRun]
    left_out: int
    missing: list[tuple[str, str]]
    resolutions: dict[str, str]
    warnings: list[tuple[str, str]]


def page_data(title: str, runs: list[FinishedRun]) -> PageData:
    """Collect the data of the page."""
    pictures = PagePictures(runs)
    table = results(runs)
    titles = {metric.key: metric for metric in FURTHER_METRICS}
    further = tuple(titles.get(key, MetricName(key, key, key)) for key in further_metrics(runs))
    counts = {run.category: len(run.images) for run in runs if len(run.images)}
    images = _images(runs, pictures)
    return PageData(
        title=title,
        heat=Heat(
            colours=COLOURS.tolist(),
            calibrated=opacities(HeatScale(0.5)).tolist(),
            uncalibrated=opacities(HeatScale(None)).tolist(),
        ),
        version=__version__,
        metrics=METRICS + further,
        further=[metric.key for metric in further],
        axes=CURVES,
        axis_titles=AXIS_TITLES,
        summary=_summary(table, [*METRIC_KEYS, *further_metrics(runs)]),
        published=_published(table, counts),
        images={category: [*known.values()] for category, known in images.items()},
        runs=[_run(number, run, pictures, images[run.category]) for number, run in enumerate(runs)],
        left_out=pictures.left_out,
        missing=[(run.name, reason) for run in runs for reason in run.missing],
        resolutions=resolutions(runs),
        warnings=warnings_of(runs),
    )


def _summary(table: pd.DataFrame, metrics: Sequence[str]) -> list[SummaryRow]:
    """One row per label for all categories together, if there are several, and for each category."""
    categories = list(dict.fromkeys(table["category"]))
    rows = []
    for category in ([None] if len(categories) > 1 else []) + categories:
        for label in sorted(table["label"].unique()):
            chosen = table[table["label"] == label]
            if category is not None:
                chosen = chosen[chosen["category"] == category]
            if not chosen.empty:
                rows.append(_summary_row(category, label, chosen, metrics))
    return rows


def _summary_row(
    category: str | None, label: str, chosen: pd.DataFrame, metrics: Sequence[str]
) -> SummaryRow:
    each = [
        SeedRow(
            seed=int(row["seed"]),
            values={name: _number(row[name]) for name in metrics},
            minutes=_number(row["train_minutes"]),
        )
        for row in chosen.to_dict("records")
    ]
    return SummaryRow(
        category=category,
        label=label,
        system=", ".join(chosen["system"].unique()),
        categories=int(chosen["category"].nunique()),
        seeds=sorted(int(seed) for seed in chosen["seed"].unique()),
        values={name: _spread(summarise(chosen, name)) for name in metrics},
        minutes=_number(chosen["train_minutes"].mean()),
        each=[] if category is None else each,
    )


def _published(table: pd.DataFrame, counts: dict[str, int]) -> list[PublishedRow]:
    """The published rows of the systems that ran, as shares of one."""
    sources = read_sources().set_index("method")
    shown, systems = comparable(table, counts), set(table["system"])
    rows = []
    for row in read_published().to_dict("records"):
        source = sources.loc[row["method"]]
        if row["category"] in shown and source["system"] in systems:
            values = {
                name: _spread(Figure(row[name] / 100, row[f"{name}_std"] / 100))
                for name in METRIC_KEYS
                if name in row
            }
            rows.append(
                PublishedRow(
                    category=row["category"],
                    method=row["method"],
                    source=source["source"],
                    link=source["link"],
                    note=source["note"],
                    values=values,
                )
            )
    return rows


def _images(runs: list[FinishedRun], pictures: PagePictures) -> dict[str, dict[str, PageImage]]:
    """The images of each category by their paths, from whichever run knows them."""
    images: dict[str, dict[str, PageImage]] = {}
    for run in runs:
        known = images.setdefault(run.category, {})
        for row in run.images.to_dict("records"):
            path = row["path"]
            image, mask = pictures.images.get((run.category, path), (None, None))
            known.setdefault(path, PageImage(path, row["defect"], int(row["label"]), image, mask))
    return images


def _run(
    number: int, run: FinishedRun, pictures: PagePictures, images: Mapping[str, PageImage]
) -> PageRun:
    # An image with another label in this run, because it was corrected meanwhile, cannot be judged by the page's.
    rows = [
        row
        for row in run.images.to_dict("records")
        if (images[row["path"]].label, images[row["path"]].defect) == (row["label"], row["defect"])
    ]
    calibration = run.result.calibration
    scale = None if calibration is None else calibration.image_scale
    scores = {row["path"]: float(row["image_score"]) for row in rows}
    maps = {row["path"]: pictures.maps.get((number, row["index"])) for row in rows}
    return PageRun(
        label=run.label,
        system=run.result.system,
        category=run.category,
        seed=run.seed,
        threshold=None if scale is None else 0.5,
        scores=scores if scale is None else {path: scale(s) for path, s in scores.items()},
        maps={path: uri for path, uri in maps.items() if uri is not None},
        pixel_threshold=None if calibration is None else calibration.pixel_threshold,
        top=pictures.scales[number].top,
        curves=run.curves,
        losses=run.losses,
        options=run.options,
        software=_software(run),
    )


def _software(run: FinishedRun) -> dict[str, str]:
    fingerprint = run.result.fingerprint
    if fingerprint is None:
        return {}
    return {
        f"{phase} {name}": value
        for name, values in (("device", fingerprint.device), ("precision", fingerprint.precision))
        for phase, value in values.items()
        if value is not None
    } | dict(fingerprint.versions)


def _spread(figure: Figure) -> Spread:
    return _number(figure.mean), _number(figure.spread)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
