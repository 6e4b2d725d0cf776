"""From folders of good images to a calibrated checkpoint."""

import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import save
from padseg.cli import main
from padseg.data import download
from padseg.data.builtin_textures import builtin_textures
from padseg.data.image_files import list_textures
from padseg.data.layouts import LAYOUTS
from padseg.errors import DataError, PadsegError
from padseg.inference import Predictor
from padseg.inference.inputs import find_images
from padseg.models import SYSTEMS
from padseg.modules import read_checkpoint
from padseg.names import DEFAULT_SYSTEM
from padseg.run.fingerprint import hash_folder
from padseg.synthesis.textures import TEXTURES
from padseg.training import command, train
from padseg.training.good_images import good_images
from tiny import tiny_arguments


def arguments(folder: Path, out: Path, *more: str, system: str = DEFAULT_SYSTEM) -> list[str]:
    phases = 2 if SYSTEMS[system].segmentation else 1
    named = [] if system == DEFAULT_SYSTEM else ["--system", system]
    return [
        *("train", str(folder), "--out", str(out), "--steps", "2", "2", "--batch-size", "4"),
        *("--weights", "random", *tiny_arguments(phases=phases, system=system), *named),
        "--data.num_workers=0",
        *("--trainer.enable_progress_bar=false", *more),
    ]


@pytest.fixture(scope="module", autouse=True)
def layouts():
    """A training registers its images as a layout, which must not outlive these tests."""
    before = dict(LAYOUTS)
    yield
    LAYOUTS.clear()
    LAYOUTS.update(before)


@pytest.fixture(scope="module")
def good(data_root, tmp_path_factory) -> Path:
    """Twelve good images, some of them in a subfolder, and nothing else."""
    folder = tmp_path_factory.mktemp("parts") / "monday [a]"
    shutil.copytree(data_root / "widget/train/good", folder / "camera 2")
    for path in sorted((folder / "camera 2").iterdir())[:4]:
        path.rename(folder / path.name)
    return folder


@pytest.fixture(scope="module")
def trained(good, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("models") / "cap"
    assert main(arguments(good, out)) == 0
    return out


def test_no_folder_is_told(tmp_path):
    with pytest.raises(DataError, match="no folder is given to train on: name one"):
        train([], tmp_path / "cap")


def test_good_images_alone_give_a_calibrated_model(trained, good):
    assert sorted(path.name for path in trained.iterdir()) == [
        *("model.ckpt", "preview.png", "training"),
    ]
    predictor = Predictor(trained / "model.ckpt")
    assert predictor.module.system == DEFAULT_SYSTEM
    assert predictor.calibration.normal_images == 1
    assert predictor(good / "camera 2/005.png").anomalous in (True, False)


def test_the_picture_shows_pairs_and_held_out_images(trained):
    with Image.open(trained / "preview.png") as picture:
        width, height = picture.size
        pixels = np.asarray(picture)
    assert width > 4 * 64
    assert height > (4 + 1) * 64  # four pairs, one held-out image
    assert len(np.unique(pixels[-64:].reshape(-1, 3), axis=0)) > 100


@pytest.mark.parametrize("option", ["folders", "out", "textures"])
def test_a_home_in_python(option, good, tmp_path, monkeypatch):
    """As everywhere else; otherwise the model would be written into a folder named `~`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "there").touch()
    given = {"folders": good, "out": tmp_path / "model", "textures": None, option: "~/there"}
    monkeypatch.setattr(command, "_run", lambda *_: pytest.fail("it is told before the training"))
    with pytest.raises(PadsegError, match=re.escape(str(tmp_path / "there"))):
        train(**given, weights="random")


def test_numbers_of_numpy(good, tmp_path, monkeypatch):
    runs = []
    monkeypatch.setattr(command, "_run", lambda options, *_: runs.append(options))
    one, two = np.arange(1, 3)
    train(good, tmp_path / "1", "stpm", seed=one, steps=two, batch_size=two, weights="random")
    train(good, tmp_path / "2", seed=1, steps=np.array([2, 2]), batch_size=2, weights="random")
    assert [(run.seeds, run.steps, run.batch_size) for run in runs] == [
        ((1,), (2,), 2),
        ((1,), (2, 2), 2),
    ]
    assert {type(number) for run in runs for number in (*run.seeds, *run.steps)} == {int}
    for name in ("seed", "steps", "batch_size"):
        with pytest.raises(TypeError, match="'float' object cannot be interpreted as an integer"):
            train(good, tmp_path / "3", "stpm", **{name: 2.5})


@pytest.mark.slow
def test_a_training_anew_replaces_no_model(good, tmp_path, capsys):
    assert main(arguments(good, tmp_path, system="stpm")) == 0
    model = tmp_path / "model.ckpt"
    before = model.read_bytes()
    shutil.rmtree(tmp_path / "training")
    assert main(arguments(good, tmp_path, "--seed", "1", system="stpm")) == 2
    assert f"{model} exists without its training: pass another" in capsys.readouterr().err
    assert model.read_bytes() == before
    model.unlink()
    assert main(arguments(good, tmp_path, "--seed", "1", system="stpm")) == 0
    assert model.read_bytes() == (tmp_path / "training/distill.ckpt").read_bytes() != before


def test_pictures_of_others_are_not_replaced(good, tmp_path, capsys):
    photo = tmp_path / "preview.png"
    Image.new("RGB", (64, 64)).save(photo)
    before = photo.read_bytes()
    assert main(arguments(good, tmp_path, system="stpm")) == 2
    assert f"{photo} exists and was not written by padseg" in capsys.readouterr().err
    assert photo.read_bytes() == before
    assert not (tmp_path / "training").exists()


def test_a_second_call_changes_nothing(trained, good, capsys):
    model = trained / "model.ckpt"
    before = model.stat().st_mtime_ns
    assert main(arguments(good, trained)) == 0
    assert "already finished" in capsys.readouterr().out
    assert model.stat().st_mtime_ns == before
    assert main([*arguments(good, trained), "--seed", "1"]) == 2
    assert "pass another --out" in capsys.readouterr().err


def test_a_renamed_folder_goes_on(trained, good, tmp_path):
    renamed = shutil.copytree(trained, tmp_path / "renamed")
    (renamed / "training/metrics.json").unlink()
    assert main(arguments(good, renamed)) == 0
    assert (renamed / "training/metrics.json").exists()


@pytest.mark.parametrize(
    "system",
    ["stpm", *(pytest.param(name, marks=pytest.mark.slow) for name in ("rstpm", "destseg"))],
)
def test_every_system_ends_with_thresholds(system, good, tmp_path):
    more = ["--model.teacher2=test_resnet", "--model.weights2=random"] if system == "rstpm" else []
    assert main(arguments(good, tmp_path, *more, system=system)) == 0
    header = read_checkpoint(tmp_path / "model.ckpt")["padseg"]
    assert header["system"] == system
    assert header["calibration"]["normal_images"] == 1
    assert (tmp_path / "training/textures").exists() == (system == "destseg")


def test_the_hint_at_textures_is_a_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "builtin_textures", lambda folder: folder)
    command._textures("destseg", None, tmp_path)
    hint = re.search(r"padseg (download .*), then --textures (.*)\.$", capsys.readouterr().out)
    fetched = []
    monkeypatch.setattr(download, "download", lambda name, root, *_: fetched.append(root / name))
    assert main(hint[1].split()) == 0
    assert str(fetched[0] / "images") == hint[2]


@pytest.mark.slow
def test_textures_are_the_given_ones_and_no_good_images(good, textures, tmp_path, capsys):
    def painted(out: Path) -> bool:
        return (out / "training/textures").exists()

    options = {
        "model.teacher": "test_resnet",
        "model.width": "16",
        "model.image_size": "64",
        "model.segmentation_width": "16",
        "trainer.enable_progress_bar": "false",
    }
    given = {"steps": (1, 1), "batch_size": 4, "weights": "random", "overrides": options}
    out, parts = tmp_path / "given", tmp_path / "parts"
    shutil.copytree(good, parts)
    shutil.copytree(textures, parts / "textures")
    assert train(parts, out, "destseg", parts / "textures", **given) == out / "model.ckpt"
    assert "Training destseg on 12 good images." in capsys.readouterr().out
    assert not painted(out)
    train([good], tmp_path / "none", "destseg", **given)
    assert painted(tmp_path / "none")


def test_good_images_are_found_in_folders_as_users_have_them(data_root, tmp_path):
    flat = tmp_path / "flat"
    for name in ("b/1.png", "a.png", "b/c/2.JPG"):
        save(flat / name, np.zeros((8, 8, 3), np.uint8))
    assert [path.name for path in good_images([flat])] == ["a.png", "1.png", "2.JPG"]
    # In MVTec AD's layout, also two categories of it, nothing else is taken.
    train_set = sorted((data_root / "widget/train/good").iterdir())
    assert good_images([data_root / "widget"]) == train_set
    assert good_images([data_root]) == train_set
    assert good_images([data_root, data_root / "widget/train"]) == train_set
    save(flat / "b/training/textures/3.png", np.zeros((8, 8, 3), np.uint8))
    assert len(good_images([flat], leave_out=[flat / "b/training"])) == 3
    # Textures may be the images themselves.
    assert len(good_images([flat], leave_out=[flat, tmp_path])) == 4
    assert len(good_images([flat, flat / "b"], leave_out=[flat / "b"])) == 4
    shutil.rmtree(flat / "b/training")
    (flat / "loop").symlink_to(flat)
    assert len(good_images([flat])) == 3


@pytest.mark.parametrize("names", [("Part", "part"), ("good", "Good"), ("train", "Train")])
def test_folders_whose_names_differ_in_case_are_all_taken(names, tmp_path):
    for name in names:
        save(tmp_path / name / "1.png", np.zeros((8, 8, 3), np.uint8))
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("the file system ignores case")
    assert len(good_images([tmp_path])) == 2


def test_textures_and_foreground_masks_are_no_good_images(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "_run", lambda *_: None)
    parts = tmp_path / "parts"
    for name in ("0", "1", "textures/a", "foreground/0", "foreground/1"):
        save(parts / f"{name}.png", np.zeros((8, 8, 3), np.uint8))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    masks = {"data.foreground": "~/parts/foreground"}
    train(parts, tmp_path / "out", "destseg", parts / "textures", overrides=masks)
    assert "Training destseg on 2 good images." in capsys.readouterr().out


def test_generated_textures_are_no_good_images(good, tmp_path):
    """A model's folder may lie among the images of the next one, or its textures be copied there."""
    folder = tmp_path / "parts"
    shutil.copytree(good, folder)
    before = good_images([folder])
    made = builtin_textures(folder / "models/first/training/textures")
    textures = list_textures(made)
    assert len(textures) == 16 * len(TEXTURES)
    shutil.copy(textures[0], folder / "a copy.jpg")
    assert good_images([folder]) == before
    assert hash_folder(made) != hash_folder(folder / "models/none")
    # The same files at a second call.
    content = [path.read_bytes() for path in textures]
    assert [path.read_bytes() for path in list_textures(builtin_textures(made))] == content


def test_images_with_defects_are_not_taken_for_good_ones(data_root, tmp_path, caplog):
    mixed = tmp_path / "mixed"
    for name in ("good/1.png", "scratch/2.png"):
        save(mixed / name, np.zeros((8, 8, 3), np.uint8))
    assert [path.name for path in good_images([mixed])] == ["1.png"]
    assert len(find_images([str(mixed)], good=True)) == 1
    assert not caplog.text
    for find in (good_images, partial(find_images, good=True)):  # as the shell expands mixed/*
        assert len(find([mixed / "good", mixed / "scratch"])) == 2
    assert len(find_images([str(mixed / "*/*.png")], good=True)) == 2
    assert caplog.text.count(f"{mixed / 'scratch'} lies beside a folder of good images") == 3
    (mixed / "good").rename(mixed / "tuesday")
    (mixed / "scratch").rename(mixed / "Bad")
    with pytest.raises(DataError, match="Bad may hold images with defects"):
        good_images([mixed])
    names = ("nok", "Not OK", "failed", "Defect_scratch", "ground truth", "Test-Images")
    for name in (*names, "def_front", "Schlechtteile", "Ausschuß", "Défauts", "non conforme"):
        before = next(path for path in mixed.iterdir() if path.name != "tuesday")
        before.rename(mixed / name)
        with pytest.raises(DataError, match=f"{name} may hold images with defects"):
            good_images([mixed])
    (mixed / name).rename(mixed / "defect-free")
    assert [path.name for path in good_images([mixed])] == ["2.png"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--data.root=elsewhere", "--data.root cannot be set here: FOLDER determines it."),
        ("--model.system=stpm", "--model.system cannot be set here: use --system."),
        ("--trainer.logger.save_dir=x", "save_dir cannot be set here: it is always a CSV log."),
    ],
)
def test_options_that_training_sets_itself_are_refused(option, said, good, tmp_path, capsys):
    assert main(arguments(good, tmp_path / "out", option)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_options_of_the_second_phase_are_checked_before_the_first(good, textures, tmp_path, capsys):
    options = ["--textures", str(textures), "--model.context=rcm"]
    assert main(arguments(good, tmp_path / "out", *options)) == 2
    assert "--model.context, fusion and second_conv are of parts" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "message"), [("none", "none is not a folder"), ("empty", "empty holds no image")]
)
def test_folders_without_images_are_named(name, message, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(arguments(tmp_path / name, tmp_path / "out")) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
