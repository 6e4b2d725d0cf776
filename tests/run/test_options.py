"""The options of `padseg run`, and which of them the results depend on."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import yaml

from padseg.cli import main
from padseg.models import SYSTEMS
from padseg.run.files import PhaseFiles
from padseg.run.options import RunOptions
from padseg.run.runs import Run

from .conftest import run_args


def test_textures_are_required(tmp_path, data_root, capsys):
    arguments = ["run", "destseg", "--category", "widget", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--root", str(data_root)]) == 2
    assert "--textures, such as data/dtd/images after padseg download" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "destseg", "--steps", "0", "5"], "--steps"),
        (["run", "destseg", "--steps", "1", "2", "3"], "--steps"),
        (["run", "destseg", "--model.lr", "0.1"], "--label"),
        (["run", "destseg", "--label", "x", "--model.nothing", "1"], "not an option"),
        (
            ["run", "destseg", "--label", "x", "--model.imagesize", "64"],
            "padseg.modules.SegmentationModule. Did you mean --model.image_size?",
        ),
        (["run", "destseg", "pfadseg"], "unknown argument 'pfadseg': see padseg run --help.\n"),
        (["run", "destseg", "--nothing", "1"], "run --help.\n"),
        (["run", "destseg", "--batch_size", "1"], "Did you mean --batch-size?"),
        (["run", "destseg", "--comand", "1"], "run --help.\n"),
        (["run", "destseg", "--label", "x", "--data", "data.yaml"], "unknown option '--data'"),
        (["run", "destseg", "--seed", "-1"], "--seed is -1; it must be from 0 to 4294967295"),
        (["run", "destseg", "--batch-size", "1"], "--batch-size"),
        (["run", "destseg", "--weights", "none.safetensors"], "none.safetensors does not exist"),
        (
            ["run", "destseg", "--label", "x", "--data.category", "y"],
            "cannot be set here: use --category.",
        ),
        (
            ["run", "destseg", "--label", "x", "--model.system", "stpm"],
            "cannot be set here: use SYSTEM.",
        ),
        (["run", "destseg", "--label", "x: y"], "leave ': ' out of names"),
        (["run", "destseg", "--label", "x", "--trainer.max_steps", "3"], "set here: use --steps."),
        (
            ["run", "destseg", "--label", "x", "--checkpoint.monitor", "val_score_map"],
            "cannot be set here: use BestCheckpoint (--trainer.callbacks).",
        ),
        (["run", "destseg", "--label", "x", "--evaluation.recall", "0.5"], "--evaluation.recall"),
        (["run", "destseg", "--label", "x", "--checkpoint.dirpath", "y"], "here: the run sets it."),
        (["run", "destseg", *(2 * ["--trainer.callbacks+=x"])], "callbacks+ is given twice"),
        (["run", "destseg", "--label", "x", "--trainer.logger", "false"], "always a CSV log"),
        (["run", "destseg", *(2 * ["--trainer.logger.save_dir=y"])], "always a CSV log"),
        (["run", "destseg", *(2 * ["--trainer.limit_test_batches=0"])], "ends with a test"),
        (["run", "stpm", "--label", "x", "--trainer.maxtime", "1"], "mean --trainer.max_time?"),
        # Of the second phase alone.
        (
            ["run", "destseg", "--label", "x", "--model.lr_head", "x"],
            "expected float, not x (see padseg fit --model.help padseg.modules.SegmentationModule)",
        ),
        (["run", "tedseg", "--label", "x", "--model.context", "rcm"], "--model.context, fusion"),
        (
            ["run", "tedseg", "--label", "x", "--data.synthesis.probability", "3"],
            "probability is 3.0",
        ),
    ],
)
def test_run_options_are_checked(arguments, told, tmp_path, data_root, textures, capsys):
    where = ["--root", str(data_root), "--category", "widget", "--textures", str(textures)]
    assert main([*arguments, *where, "--out", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_options_of_gradients_are_of_the_phase_that_has_them(data_root, textures, tmp_path):
    given = {"model.weight_decay": "0.05", "trainer.max_time": "00:01:00:00"}
    given |= {"data.synthesis.mixture.soft_edges": "0.25", "data.bits": "12"}
    given |= {"trainer.callbacks+": "EMAWeightAveraging", "trainer.callbacks.decay": "0.9"}
    for system, first in (("tedseg", ["data.bits"]), ("destseg", list(given))):
        options = RunOptions(
            system, data_root, ("widget",), tmp_path, textures, label="x", overrides=given
        )
        assert list(options.overrides_of("distill")) == first
        assert list(options.overrides_of("segment")) == list(given)


def test_weights_in_the_home(data_root, tmp_path, monkeypatch):
    """Which a shell does not expand in Python."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "teacher.pth").touch()
    options = RunOptions("stpm", data_root, ("widget",), tmp_path, weights="~/teacher.pth")
    assert options.weight_file == tmp_path / "teacher.pth"


def test_a_system_may_share_the_recipes_of_another(data_root, tmp_path, monkeypatch, capsys):
    recipes = Path(__file__).parents[2] / "configs" / "stpm"
    shared = dataclasses.replace(SYSTEMS["stpm"], name="mine", recipes=recipes)
    monkeypatch.setitem(SYSTEMS, "mine", shared)
    options = RunOptions("mine", data_root, ("widget",), tmp_path)
    run = Run(options, "widget", 0)
    arguments = run.fit_args(PhaseFiles(run.folder, "distill"))
    with pytest.raises(SystemExit) as ended:
        main(["fit", *arguments, "--print_config"])
    assert ended.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["system"] == "mine"


def test_files_behind_options_are_part_of_the_run(data_root, textures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "masks").mkdir()
    overrides = {"data.foreground": "masks", "model.weights2": "weights2"}

    def dependencies():
        options = RunOptions(
            "rstpm", data_root, ["widget"], tmp_path, label="x", overrides=overrides
        )
        there = options.portable().overrides
        assert there == {key: str(tmp_path / value) for key, value in overrides.items()}
        return Run(options, "widget", 0).results_depend_on()["overrides"]

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    home = {"data.foreground": "~/masks"}
    options = RunOptions("rstpm", data_root, ["widget"], tmp_path, label="x", overrides=home)
    assert options.portable().overrides == {"data.foreground": str(tmp_path / "masks")}

    (tmp_path / "weights2").write_text("one")
    first = dependencies()
    (tmp_path / "weights2").write_text("two")
    assert dependencies()["model.weights2"] != first["model.weights2"]
    shutil.copy(next(textures.rglob("*.png")), tmp_path / "masks/000.png")
    assert dependencies()["data.foreground"] != first["data.foreground"]


def test_a_word_of_an_option_is_no_file_of_this_name(data_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "otsu").mkdir()
    (tmp_path / "random").touch()
    overrides = {"data.foreground": "otsu", "model.weights2": "random"}
    options = RunOptions(
        "rstpm", data_root, ("widget",), tmp_path, weights="random", label="x", overrides=overrides
    )
    assert options.portable().overrides == overrides
    assert options.portable().weights == "random"
    found = Run(options, "widget", 0).results_depend_on()
    assert found["overrides"] == overrides
    assert found["weights"] == "random"


def test_a_list_that_moves_an_image_is_other_data(data_root, textures, tmp_path, capsys):
    """No file has changed, but what is trained on."""
    root = tmp_path / "data"
    shutil.copytree(data_root / "widget", root / "widget")
    paths = sorted((root / "widget").glob("*/good/*.png"))
    rows = [f"{p.relative_to(root).as_posix()},{p.parts[-3]},good" for p in paths]
    (root / "samples.csv").write_text("\n".join(["path,split,label", *rows]))
    options = {"root": root, "categories": ("widget",), "out": tmp_path, "layout": "folder"}
    before = Run(RunOptions("stpm", **options), "widget", 0).results_depend_on()
    moved = [row.replace("train,good", "test,good") for row in rows[-1:]]
    (root / "samples.csv").write_text("\n".join(["path,split,label", *rows[:-1], *moved]))
    after = Run(RunOptions("stpm", **options), "widget", 0).results_depend_on()
    assert [key for key in before if before[key] != after[key]] == ["images"]


def test_options_are_told_in_one_sentence(data_root, textures, tmp_path, capsys):
    arguments = run_args(data_root, textures, tmp_path)
    weights = tmp_path / "text.safetensors"
    weights.write_text("no weights")
    for wrong, told in (
        (["--data.btch_size=4"], "--data.btch_size=4 (see padseg fit --help=all)"),
        (["--weights", str(weights)], "text.safetensors"),
    ):
        assert main([*arguments, *wrong]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert told in line


@pytest.mark.slow
def test_a_home_in_out_is_where_runs_go_on(data_root, textures, tmp_path, monkeypatch):
    """A shell leaves the `~` of `--out=~/runs` as it is."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    arguments = run_args(data_root, textures, Path("unused"))
    at = arguments.index("--out")
    arguments[at : at + 2] = ["--out=~/runs"]
    assert main(arguments) == 0
    assert (tmp_path / "home/runs/small/widget/seed0/metrics.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
