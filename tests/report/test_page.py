"""The report: its content, its errors, damaged input, and its size."""

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from PIL import Image

from padseg.cli import main
from padseg.drawing import HeatScale
from padseg.metrics.calibration import Calibration
from padseg.report import pictures
from padseg.report.page import make_page, report
from padseg.report.page_data import page_data
from padseg.report.pictures import PagePictures, shown_scale
from padseg.report.runs import FinishedRun, read_runs
from padseg.run.table import write_table

from .conftest import CURVES, make_images, make_run

HOSTILE = [
    "<script>window.owned = 1</script>",
    "</script><img src=x onerror='window.owned = 1'>",
    '"\'><b onclick="window.owned = 1">&lt;',
    "<!--<script> \u2028 ]]> ${title} $data",
]


class Tags(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.found and self.found[-1][0] == "script":
            self.scripts.append(data)


def data_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


def runs_below(out) -> list[FinishedRun]:
    runs, broken = read_runs(out)
    assert broken == []
    return runs


def make_data(out) -> dict:
    report(out)
    return data_of((out / "report.html").read_text())


def test_the_command_writes_page_and_tables(two_systems, capsys):
    assert main(["report", str(two_systems)]) == 0
    told = capsys.readouterr().out.split()
    assert told == [str(two_systems / name) for name in ("report.html", "tables.md", "tables.tex")]
    data = data_of((two_systems / "report.html").read_text())
    assert [run["label"] for run in data["runs"]] == ["one", "two"]
    raw = {path: score for path, _, _, score in make_images(24)}
    shown = data["runs"][0]["scores"]
    assert [run["threshold"] for run in data["runs"]] == [0.5, None]
    assert sorted(shown, key=shown.get) == sorted(raw, key=raw.get)
    assert {path for path in shown if shown[path] > 0.5} == {
        path for path in raw if raw[path] > 0.45
    }
    assert data["runs"][1]["scores"] == {path: score * 0.5 for path, score in raw.items()}
    assert len(data["images"]["bolt"]) == 24
    assert sum(image["mask"] is not None for image in data["images"]["bolt"]) == 16
    assert data["missing"] == [["two/bolt/seed0", "no calibrated threshold"]]


def test_a_folder_without_results_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "none"):
        assert main(["report", str(tmp_path / folder)]) == 2
        told = capsys.readouterr().err
        assert folder in told
        assert "padseg run" in told
        assert len(told.splitlines()) == 1
    assert list(tmp_path.rglob("*.html")) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"label": "x"}', "\x00"])
def test_broken_metrics_are_named(content, tmp_path, capsys):
    folder = make_run(tmp_path, "x", "bolt")
    (folder / "metrics.json").write_text(content)
    assert main(["report", str(tmp_path)]) == 2
    assert "metrics.json is broken" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()
    # The others are reported all the same.
    make_run(tmp_path, "y", "bolt")
    assert main(["report", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert f"{folder / 'metrics.json'} is broken" in told
    assert "written without this run" in told
    data = data_of((tmp_path / "report.html").read_text())
    assert [row["label"] for row in data["summary"]] == ["y"]


def test_a_copy_of_a_run_is_no_further_run(tmp_path, caplog):
    folder = make_run(tmp_path, "x", "bolt")
    shutil.copytree(folder, folder.with_name("seed0-old"))
    shutil.copytree(folder, folder.with_name("seed00"))
    (run,) = runs_below(tmp_path)
    assert run.folder == folder
    (told,) = caplog.messages
    assert told.startswith("x/bolt/seed0-old, x/bolt/seed00: left out")
    assert len(write_table(tmp_path)) == 1


def test_a_broken_run_is_left_out_of_the_table(tmp_path, caplog):
    broken = make_run(tmp_path, "x", "bolt") / "metrics.json"
    make_run(tmp_path, "x", "nut")
    broken.write_text("{bad")
    assert list(write_table(tmp_path)["category"]) == ["nut"]
    (told,) = caplog.messages
    assert told.startswith(f"{broken} is broken: delete it")
    assert told.endswith("It is left out of results.csv.")


def test_a_copied_label_is_a_variant_of_its_own(tmp_path):
    make_run(tmp_path, "x", "bolt")
    shutil.copytree(tmp_path / "x", tmp_path / "x-old")
    (tmp_path / "x/bolt").rename(tmp_path / "x/nut")
    named = [("x-old", "bolt"), ("x", "nut")]
    assert [(run.label, run.category) for run in runs_below(tmp_path)] == named
    table = write_table(tmp_path)
    assert list(zip(table["label"], table["category"], strict=True)) == named[::-1]


def test_older_runs_come_without_pictures(tmp_path):
    make_run(tmp_path, "old", "bolt", figures={"iap": None})
    data = make_data(tmp_path)
    assert data["summary"][0]["values"]["iap"] == [None, None]
    reasons = [reason for _, reason in data["missing"]]
    assert any("images.csv" in reason for reason in reasons)
    assert any("curves.json" in reason for reason in reasons)


HEADER = "index,path,defect,label,image_score,anomalous\n"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("", "No columns"),
        ("index,path\n0,a\n", "no column defect, label, image_score, anomalous"),
        (HEADER + "0,a,b,7,0.5,\n", "a label other than 0 and 1"),
        (HEADER + "0,a,b,1,nan,\n", "a score that is not finite"),
        (HEADER + "0,a,b,1,0.5,\n0,c,b,1,0.5,\n", "an image twice"),
        (HEADER + "x,a,b,1,0.5,\n", "invalid literal for int"),
        (HEADER + "0,a,b,1,0.5,perhaps\n", "perhaps"),
    ],
)
def test_broken_records_are_told(broken, reason, tmp_path):
    folder = make_run(tmp_path, "x", "bolt", images=make_images(3))
    (folder / "images.csv").write_text(broken)
    (folder / "curves.json").write_text('{"roc": [1]}')
    (run,) = runs_below(tmp_path)
    assert any("images.csv is broken" in told and reason in told for told in run.missing)
    assert any("curves.json is broken" in told for told in run.missing)
    report(tmp_path)


def test_broken_pictures_are_left_out(tmp_path):
    folder = make_run(tmp_path, "x", "bolt", images=make_images(6))
    (folder / "thumbs/00000.jpg").write_bytes(b"no picture")
    (folder / "thumbs/00001.jpg").unlink()
    (folder / "maps/00002.png").write_bytes((folder / "maps/00002.png").read_bytes()[:40])
    (folder / "masks/00004.png").write_bytes(b"")
    found = PagePictures(runs_below(tmp_path))
    assert len(found.images) == 4
    assert {index for _, index in found.maps} == {3, 4, 5}


def test_names_that_look_like_tags_stay_text(tmp_path):
    images = [(f"bolt/test/{text}.png", text, 1, 0.5) for text in HOSTILE]
    make_run(tmp_path, HOSTILE[0], HOSTILE[2], images=images, curves={HOSTILE[1]: CURVES["pro"]})
    page = make_page(HOSTILE[1], runs_below(tmp_path))
    tags = Tags(page)
    names = [tag for tag, _ in tags.found]
    assert names.count("script") == 2
    assert "img" not in names
    assert "b" not in names
    assert not any(name.startswith("on") for _, attributes in tags.found for name in attributes)
    data = data_of(page)
    assert data["title"] == HOSTILE[1]
    assert [image["defect"] for image in data["images"][HOSTILE[2]]] == HOSTILE
    assert "<" not in "".join(tags.scripts[:1])


def test_defects_keep_their_names(tmp_path):
    names = ["NA", "007", "", "null", "1e5"]
    make_run(tmp_path, "x", "bolt", images=[(f"{n}.png", n, 1, 0.5) for n in names])
    assert list(runs_below(tmp_path)[0].images["defect"]) == names


def test_the_page_points_nowhere(two_systems):
    report(two_systems)
    tags = Tags((two_systems / "report.html").read_text())
    assert not any("src" in attributes for _, attributes in tags.found)
    assert "link" not in [tag for tag, _ in tags.found]
    assert all(attributes["href"].startswith("#") for tag, attributes in tags.found if tag == "a")


def test_pictures_keep_within_the_budget_and_every_category_has_some(tmp_path):
    for category in ("bolt", "nut"):
        make_run(tmp_path, "x", category, images=make_images(60, category))
        make_run(tmp_path, "y", category, images=make_images(60, category, seed=1))
    runs = runs_below(tmp_path)
    everything = PagePictures(runs)
    assert everything.left_out == 0
    assert len(everything.maps) == 240

    def size(found: PagePictures) -> int:
        uris = [uri for pair in found.images.values() for uri in pair if uri] + [
            *found.maps.values()
        ]
        return sum(map(len, uris))

    budget = size(everything) // 4
    some = PagePictures(runs, budget)
    assert budget // 2 < size(some) <= budget
    assert some.left_out == 120 - len(some.images)
    counts = [sum(category == name for category, _ in some.images) for name in ("bolt", "nut")]
    assert min(counts) >= 10
    # The worst verdicts are there: the highest good score and the lowest of a defect.
    table = runs[0].images
    good, bad = table[table["label"] == 0], table[table["label"] == 1]
    assert ("bolt", good.loc[good["image_score"].idxmax(), "path"]) in some.images
    assert ("bolt", bad.loc[bad["image_score"].idxmin(), "path"]) in some.images
    assert pictures.BUDGET == 24 * 2**20


def test_maps_without_a_threshold_are_coloured_up_to_the_highest_scores(tmp_path):
    folder = make_run(tmp_path, "x", "bolt", images=make_images(5))
    rng = np.random.default_rng(0)
    maps = rng.integers(100, 4000, (5, 64, 64)).astype(np.uint16)
    for index, pixels in enumerate(maps):
        Image.fromarray(pixels).save(folder / f"maps/{index:05d}.png")
    scale = shown_scale(runs_below(tmp_path)[0])
    assert scale.threshold is None
    assert scale.top * 65535 == pytest.approx(np.quantile(maps, 0.999), abs=1)


def test_maps_with_a_threshold_have_it_at_level_128(tmp_path):
    calibration = Calibration(0.5, 0.02, 0.01, 0.001, 0.01, normal_images=99)
    folder = make_run(
        tmp_path, "x", "bolt", images=make_images(3), calibration=calibration, side=64
    )
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4000, (64, 64)).astype(np.uint16)
    Image.fromarray(scores).save(folder / "maps/00000.png")
    found = PagePictures(runs_below(tmp_path)).maps[0, 0]
    content = base64.b64decode(found.removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(content)) as image:
        levels = np.asarray(image)
    assert ((levels >= 128) == (np.float32(scores) / np.float32(65535) > np.float32(0.02))).all()
    expected = HeatScale.of(calibration.pixel_scale).levels(scores / 65535) * 255
    assert np.abs(levels - expected).max() <= 9


def test_losses_and_options_of_each_phase(tmp_path):
    overrides = {"trainer.gradient_clip_val": "1", "data.jitter_textures": "true"}
    folder = make_run(tmp_path, "x", "bolt", made_with={"overrides": overrides})
    logs = folder / "logs/distill"
    logs.mkdir(parents=True)
    # An interrupted process, and the one that resumed at step 100.
    (logs / "metrics-1.csv").write_text("step,train_loss,lr\n49,4,\n99,3,\n149,9,\n")
    (logs / "metrics.csv").write_text("epoch,step,train_loss\n0,149,2\n0,150,\n0,199,1\n")
    options = {
        "model": {"init_args": {"width": 64, "fusion": None, "kernels": [3, 3], "weights": "/a"}},
        "data": {
            "root": "/secret",
            "foreground": "otsu",
            "synthesis": {"beta": 0.5},
            "jitter_textures": True,
        },
        "trainer": {"max_steps": 200, "devices": 1},
    }
    (logs / "config.yaml").write_text(yaml.safe_dump(options))
    (run,) = make_data(tmp_path)["runs"]
    assert run["losses"] == {"distill": [[49, 4.0], [99, 3.0], [149, 2.0], [199, 1.0]]}
    assert run["options"] == {
        "distill model.kernels": "3, 3",
        "distill model.width": "64",
        "distill data.foreground": "otsu",
        "distill data.jitter_textures": "true",
        "distill data.synthesis.beta": "0.5",
        "distill trainer.gradient_clip_val": "1",
        "distill trainer.max_steps": "200",
    }
    assert "/secret" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("name", "content"),
    [("metrics.csv", ""), ("metrics.csv", "step,train_loss\na,b\n"), ("config.yaml", "a: [")],
)
def test_broken_logs_are_told(name, content, tmp_path):
    folder = make_run(tmp_path, "x", "bolt")
    (folder / "logs/segment").mkdir(parents=True)
    (folder / "logs/segment" / name).write_text(content)
    (run,) = runs_below(tmp_path)
    assert any("a log of the training is broken" in told for told in run.missing)
    report(tmp_path)


def test_seeds_and_categories_are_summarised(tmp_path):
    for category in ("bolt", "nut"):
        for seed in (0, 1, 2):
            make_run(tmp_path, "x", category, seed)
    summary = make_data(tmp_path)["summary"]
    assert [row["category"] for row in summary] == [None, "bolt", "nut"]
    assert summary[0]["values"]["pro"] == pytest.approx([0.51, 0.01])
    assert [one["seed"] for one in summary[1]["each"]] == [0, 1, 2]


def test_further_metrics_are_shown_on_demand(tmp_path):
    """Those that only some runs have are empty in the others, whatever their names."""
    for label, further in (("old", None), ("new", {"aupimo": 0.25, "pixel_iou": None})):
        path = make_run(tmp_path, label, "bolt") / "metrics.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | ({"further_metrics": further} if further else {})))
    data = page_data("Runs", runs_below(tmp_path))
    assert data.further == ["aupimo", "pixel_iou"]
    titles = {metric.key: metric.title for metric in data.metrics}
    assert titles["aupimo"] == "AUPIMO"
    assert titles["pixel_iou"] == "pixel_iou"
    values = {row.label: row.values for row in data.summary}
    assert values["new"]["aupimo"][0] == 0.25
    assert values["old"]["aupimo"][0] is None
    assert values["new"]["pixel_iou"][0] is None


def test_runs_of_a_label_that_differ_are_told(tmp_path):
    same = {"steps": [4], "overrides": {}, "images": "a", "layout": "mvtec", "system": "destseg"}
    make_run(tmp_path, "one", "bolt", seed=0, made_with={**same, "seed": 0})
    make_run(tmp_path, "one", "bolt", seed=1, made_with={**same, "seed": 1})
    other = {**same, "layout": "folder", "images": "b"}
    make_run(tmp_path, "one", "nut", made_with=other)
    make_run(tmp_path, "one", "old")  # an early version, which stored no options
    assert page_data("x", runs_below(tmp_path)).warnings == []
    overrides = {"model.lr": "0.1", "trainer.gradient_clip_val": "1"}
    changed = {**same, "steps": [8], "overrides": overrides}
    make_run(tmp_path, "one", "bolt", seed=2, made_with=changed)
    told = "its runs differ in overrides model.lr, overrides trainer.gradient_clip_val, steps: their mean"
    ((name, sentence),) = page_data("x", runs_below(tmp_path)).warnings
    assert (name, sentence.startswith(told)) == ("one", True)
    report(tmp_path)
    assert "one: its runs differ in overrides model.lr, " in (tmp_path / "tables.md").read_text()


def test_an_image_whose_label_was_corrected_is_judged_by_no_other_run(tmp_path):
    images = make_images(6)
    corrected = [(images[0][0], "crack", 1, 0.9), *images[1:]]
    make_run(tmp_path, "one", "bolt", images=images, made_with={"images": "a"})
    make_run(tmp_path, "two", "bolt", images=corrected, made_with={"images": "b"})
    data = page_data("x", runs_below(tmp_path))
    assert [image.label for image in data.images["bolt"]] == [label for *_, label, _ in images]
    assert [len(run.scores) for run in data.runs] == [6, 5]
    assert images[0][0] not in data.runs[1].scores
    ((name, sentence),) = data.warnings
    assert name == "bolt"
    assert sentence.startswith("its runs saw different images, or other labels of them")


def test_notes_cannot_break_the_tables(tmp_path):
    made = {"steps": [4]}, {"steps": [8]}
    for seed, options in enumerate(made):
        make_run(tmp_path, "a\n\\input{evil}|<i>", "bolt", seed=seed, made_with=options)
    report(tmp_path)
    (line,) = [x for x in (tmp_path / "tables.tex").read_text().splitlines() if "runs differ" in x]
    assert line.startswith(r"% a \textbackslash{}input\{evil\}\textbar{}\textless{}i")
    (line,) = [x for x in (tmp_path / "tables.md").read_text().splitlines() if "runs differ" in x]
    assert line.startswith(r"- a \\input{evil}\|\<i\>: its runs differ in steps")
