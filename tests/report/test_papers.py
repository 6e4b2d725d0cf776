"""Tables in the form of the papers: averages, spreads, published rows, escaping."""

import math
import statistics

import pandas as pd
import pytest

from padseg.metrics.names import METRIC_KEYS
from padseg.report.papers import (
    OBJECTS,
    TEST_IMAGES,
    TEXTURES,
    comparable,
    latex,
    markdown,
    paper_tables,
    read_published,
    read_sources,
    summarise,
)


def rows(label: str, values: dict[tuple[str, int], float]) -> pd.DataFrame:
    return pd.DataFrame(
        {"label": label, "system": "destseg", "category": category, "seed": seed}
        | dict.fromkeys(METRIC_KEYS, value)
        for (category, seed), value in values.items()
    )


def test_mean_and_spread_are_over_seeds_of_means_over_categories():
    values = {
        ("a", 0): 0.1,
        ("b", 0): 0.5,
        ("a", 1): 0.3,
        ("b", 1): 0.9,
        ("a", 2): 0.2,
        ("b", 2): 0.2,
    }
    figure = summarise(rows("x", values), "iap")
    means = [(0.1 + 0.5) / 2, (0.3 + 0.9) / 2, (0.2 + 0.2) / 2]
    assert figure.mean == pytest.approx(statistics.mean(means))
    assert figure.spread == pytest.approx(statistics.stdev(means))


def test_other_seeds_per_category_have_a_mean_without_spread():
    figure = summarise(rows("x", {("a", 0): 0.2, ("a", 1): 0.4, ("b", 0): 0.9}), "iap")
    assert figure.mean == pytest.approx((0.3 + 0.9) / 2)
    assert math.isnan(figure.spread)


def test_undefined_metrics_are_left_out():
    assert math.isnan(summarise(rows("x", {("a", 0): math.nan}), "iap").mean)
    assert summarise(rows("x", {("a", 0): math.nan, ("a", 1): 0.5}), "iap").mean == 0.5


@pytest.mark.parametrize(("group", "members"), [("textures", TEXTURES), ("objects", OBJECTS)])
def test_published_averages_are_the_means_of_the_published_categories(group, members):
    table = read_published().set_index(["method", "category"])
    for method in table.index.unique("method"):
        for metric in ("pixel_auroc", "pixel_ap", "iap", "iap90"):
            printed = table.loc[(method, group), metric]
            mean = table.loc[[(method, name) for name in members], metric].mean(skipna=False)
            if not math.isnan(printed):
                assert printed == pytest.approx(mean, abs=0.11), (method, metric)
            average = table.loc[(method, "average"), metric]
            if not math.isnan(average):
                names = [(method, name) for name in (*TEXTURES, *OBJECTS)]
                # The papers average before they round.
                assert average == pytest.approx(table.loc[names, metric].mean(), abs=0.11)


def test_every_published_method_has_a_source():
    assert set(read_published()["method"]) == set(read_sources()["method"])
    assert read_sources()["link"].str.startswith("https://arxiv.org/abs/").all()


def test_tables_have_the_papers_cells_and_averages():
    names = [*TEXTURES, *OBJECTS]
    values = {(name, seed): 0.5 + 0.1 * seed for name in names for seed in (0, 1)}
    tables = paper_tables(rows("mine", values), TEST_IMAGES)
    pixel = tables["Pixel AUROC / AP"]
    assert list(pixel.index) == [*TEXTURES, "textures", *OBJECTS, "objects", "average"]
    assert pixel.loc["bottle", "PFADSeg"] == "99.3 / 91.3"
    assert pixel.loc["average", "DeSTSeg"] == "97.9±0.3 / 75.8±0.8"
    assert pixel.loc["carpet", "CutPaste"] == "98.3 / –"  # noqa: RUF001
    assert pixel.loc["average", "mine (ours)"] == "55.0±7.1 / 55.0±7.1"
    image = tables["Image AUROC"]
    assert image.loc["average", "PFADSeg"] == "98.9"
    assert tables["IAP / IAP@90"].loc["objects", "DeSTSeg rerun"] == "73.2 / 53.6"


def test_published_averages_are_over_the_categories_that_ran():
    table = rows("mine", {("bottle", 0): 0.9, ("cable", 0): 0.7})
    pixel = paper_tables(table, {})["Pixel AUROC / AP"]
    assert list(pixel.index) == ["bottle", "cable", "objects (2)", "average (2)"]
    assert pixel.loc["average (2)", "STPM"] == "96.8 / 69.3"
    assert pixel.loc["average (2)", "mine (ours)"] == "80.0 / 80.0"


def test_a_label_that_lacks_a_category_has_no_average():
    table = pd.concat(
        [rows("a", {("bottle", 0): 0.9, ("cable", 0): 0.7}), rows("b", {("cable", 0): 1})]
    )
    pixel = paper_tables(table, {})["Pixel AUROC / AP"]
    assert pixel.loc["average (2)", "b (ours)"] == "–"  # noqa: RUF001
    assert pixel.loc["cable", "b (ours)"] == "100.0 / 100.0"


def test_a_metric_that_a_category_lacks_has_no_average():
    """As the pixel metrics of a category without masks."""
    table = rows("a", {("bolt", 0): 0.9, ("nut", 0): 0.7})
    table.loc[table["category"] == "nut", ["pixel_auroc", "pixel_ap"]] = math.nan
    tables = paper_tables(table, {})
    assert tables["Pixel AUROC / AP"]["a (ours)"].to_list() == ["90.0 / 90.0", "–", "–"]  # noqa: RUF001
    assert tables["Image AUROC"].loc["average (2)", "a (ours)"] == "80.0"
    assert math.isnan(summarise(table, "pixel_ap").mean)


def test_other_data_has_no_published_figures_beside_it():
    demo = rows("demo", {("cap", 0): 0.9, ("fabric", 0): 0.9, ("wood", 0): 0.9})
    assert comparable(demo, {}) == []
    assert list(paper_tables(demo, {})["Image AUROC"].columns) == ["demo (ours)"]
    wood = rows("demo", {("wood", 0): 0.9})
    assert comparable(wood, {"wood": 42}) == []
    assert comparable(wood, {"wood": 79}) == comparable(wood, {}) == ["wood"]


def test_a_label_that_is_called_like_a_method_is_not_taken_for_it():
    tables = paper_tables(rows("DeSTSeg", {("cap", 0): 0.9}), {})
    assert "CVPR" not in markdown(tables)


def test_names_cannot_break_the_tables():
    hostile = "a|b_c & 50% \\x {y} <i>\n#"
    tables = paper_tables(rows(hostile, {("k_1", 0): 0.5}), {})
    header = markdown(tables).splitlines()[2]
    assert header == r"| category | a\|b\_c & 50% \\x {y} \<i\> # (ours) |"
    text = latex(tables)
    assert (
        r"category & a\textbar{}b\_c \& 50\% \textbackslash{}x \{y\} \textless{}i\textgreater{} \# (ours)"
        in text
    )
    assert r"k\_1 & 50.0 \\" in text
    assert text.count(r"\begin{tabular}{lc}") == 3
