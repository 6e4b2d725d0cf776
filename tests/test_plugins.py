"""What a module outside the package registers is used like what comes with it."""

import importlib
import shutil
import sys

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from lightning import Trainer
from PIL import Image
from torch.optim import AdamW
from torchmetrics.functional.classification import binary_jaccard_index

from padseg import plugins
from padseg.callbacks import EvaluationCallback
from padseg.cli import main
from padseg.data.layouts import LAYOUTS
from padseg.data.pairs import paint_pairs
from padseg.errors import ConfigError
from padseg.inference import Predictor
from padseg.metrics.further import FURTHER
from padseg.models import SYSTEMS
from padseg.modules import SegmentationModule, read_header
from padseg.plugins import load_plugin
from padseg.synthesis import SynthesisParams
from padseg.synthesis.kinds import MASKS
from tiny import tiny_data, tiny_student

REGISTERS = (SYSTEMS, LAYOUTS, MASKS, FURTHER)


@pytest.fixture
def unregistered():
    """Nothing but what comes with padseg, as in a new process."""
    before = [dict(register) for register in REGISTERS]
    yield
    sys.modules.pop("toy_plugin", None)
    for register, entries in zip(REGISTERS, before, strict=True):
        register.clear()
        register.update(entries)


@pytest.fixture
def toy(unregistered):
    return importlib.import_module("toy_plugin")


@pytest.fixture(scope="module")
def toy_root(data_root, tmp_path_factory):
    """The made category in the layout of the plugin."""
    root, widget = tmp_path_factory.mktemp("toy"), data_root / "widget"
    shutil.copytree(widget / "train/good", root / "part_good")
    shutil.copytree(widget / "test/spot", root / "part_bad")
    masks = shutil.copytree(widget / "ground_truth/spot", root / "part_mask")
    for path in sorted(masks.iterdir()):
        path.rename(path.with_name(path.name.replace("_mask", "")))
    return root


def fit(module, data, steps, folder):
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        callbacks=[EvaluationCallback()],
        default_root_dir=folder,
    )
    trainer.fit(module, datamodule=data)
    return trainer


def test_a_system_in_python(toy, data_root, textures, tmp_path):
    """As in a notebook: both phases, every part of the system's own."""
    data = tiny_data(data_root, textures)
    student = tiny_student("toy")
    trainer = fit(student, data, 3, tmp_path)
    assert isinstance(trainer.optimizers[0], AdamW)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)  # decayed
    trainer.save_checkpoint(tmp_path / "distill.ckpt")

    module = SegmentationModule(str(tmp_path / "distill.ckpt"), segmentation_width=16, lr_head=1e-3)
    assert isinstance(module.segmentation, toy.ToyHead)
    teacher = {k: v.clone() for k, v in module.student_teacher.state_dict().items()}
    trainer = fit(module, data, 2, tmp_path)
    assert all(torch.equal(v, teacher[k]) for k, v in module.student_teacher.state_dict().items())
    (figures,) = trainer.test(module, datamodule=data, verbose=False)
    assert {"pixel_ap", "image_auroc", "pixel_iou"} <= figures.keys()

    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        scores, pairs = module.eval()(image), module.compare(image)
        logits = module.logits(pairs)
    assert logits.shape == (2, 1, 32, 32)  # at the size of the half-size image
    assert [f.shape[1] for f in pairs[0].teacher] == [3, 32, 48, 192]
    # The rule weighs the map by the distances of the features.
    weighed = scores["score_map"] * toy.toy_map(pairs, (64, 64)).sqrt()
    expected = weighed.flatten(1).sort(descending=True).values[:, :20].mean(dim=1)
    torch.testing.assert_close(scores["image_score"], expected)


def test_a_student_that_sees_features_learns_from_the_corrupted_image(toy):
    module = tiny_student("toy").eval()
    clean, corrupted = torch.rand(2, 1, 3, 64, 64)
    with torch.no_grad():
        mixed, other = (
            module.student_teacher(*images)[0] for images in ((clean, corrupted), (corrupted,))
        )
    assert torch.equal(mixed.student[0], other.student[0])
    assert not torch.equal(mixed.teacher[0], other.teacher[0])


def test_a_metric(toy, data_root, textures, tmp_path):
    data = tiny_data(data_root, textures)
    module = tiny_student("toy")
    trainer = fit(module, data, 1, tmp_path)
    (figures,) = trainer.test(module, datamodule=data, verbose=False)
    maps, masks = [], []
    with torch.no_grad():
        for batch in data.test_dataloader():
            maps.append(module(batch["image"].permute(0, 3, 1, 2))["score_map"])
            masks.append(batch["mask"])
    expected = binary_jaccard_index(torch.cat(maps), torch.cat(masks), threshold=toy.IOU_THRESHOLD)
    assert 0 < expected < 1
    assert figures["pixel_iou"] == pytest.approx(expected.item(), abs=1e-6)


def test_a_kind_of_defect(toy, data_root, textures):
    data = tiny_data(data_root, textures, synthesis=SynthesisParams(backend="square"))
    data.setup("fit")
    pairs = data.pairs(0, 4)
    assert (pairs["mask"].flatten(1).sum(dim=1) == 16 * 16).all()
    assert torch.equal(
        pairs["corrupted"], torch.where(pairs["mask"] > 0, pairs["texture"], pairs["clean"])
    )


@pytest.mark.slow
def test_spawned_data_workers_import_the_plugin(unregistered, data_root, textures):
    load_plugin("toy_plugin")
    square = SynthesisParams(backend="square")
    data = tiny_data(data_root, textures, synthesis=square, batch_size=2, num_workers=1)
    data.setup("fit")
    loader = data.train_dataloader()
    loader.multiprocessing_context = "spawn"
    pairs = paint_pairs(next(iter(loader)), square)
    for name, expected in data.pairs(0, 2).items():
        assert torch.equal(pairs[name], expected)


@pytest.mark.slow
def test_the_command_line(unregistered, toy_root, textures, tmp_path, capsys):
    """`check`, `preview`, `run`, `detect` and `export` take what the plugin registers."""
    data = ("--root", str(toy_root), "--category", "part", "--layout", "toy")
    plugin = ("--plugin", "toy_plugin")
    assert main(["check", *data]) == 2
    assert "layout is 'toy'; give one of mvtec" in capsys.readouterr().err
    assert main(["check", *data, *plugin]) == 0
    table = capsys.readouterr().out.split("part")[-1].split()
    assert table[:5] == ["10", "0", "2", "4", "4"]

    picture = tmp_path / "preview.png"
    assert (
        main(["preview", *data, *plugin, "--textures", str(textures), "--out", str(picture)]) == 0
    )
    assert picture.is_file()

    out = tmp_path / "out"
    options = ("--textures", str(textures), "--weights", "random", "--precision", "32-true")
    options += ("--out", str(out), "--trainer.enable_progress_bar=false")
    assert main(["run", "toy", *data, *plugin, *options]) == 0
    table = pd.read_csv(out / "results.csv")
    assert table[["system", "category"]].values.tolist() == [["toy", "part"]]
    checkpoint = out / "toy/part/seed0/segment.ckpt"
    assert f"padseg detect --plugin toy_plugin {checkpoint}" in capsys.readouterr().out
    assert read_header(checkpoint).system == "toy"

    bad = toy_root / "part_bad"
    assert (
        main(["detect", str(checkpoint), str(bad), *plugin, "--out", str(tmp_path / "found")]) == 0
    )
    found = pd.read_csv(tmp_path / "found/predictions.csv")
    images = sorted(bad.iterdir())
    expected = [Predictor(checkpoint)(path).image_score for path in images]
    assert found["image_score"].tolist() == pytest.approx(expected, abs=1e-6)

    net = tmp_path / "net.onnx"
    assert main(["export", str(checkpoint), *plugin, "--format", "onnx", "--out", str(net)]) == 0
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in images])
    (scores,) = onnxruntime.InferenceSession(net).run(["image_score"], {"image": pixels})
    assert scores == pytest.approx(expected, abs=1e-5)


def test_a_checkpoint_without_its_plugin(toy, tmp_path, capsys):
    checkpoint = {"state_dict": (module := tiny_student("toy")).state_dict()}
    module.on_save_checkpoint(checkpoint)
    path = tmp_path / "last.ckpt"
    torch.save(checkpoint, path)
    del SYSTEMS["toy"]
    told = f"{path} is of system 'toy', which does not come with padseg: name the module that registers it"
    commands = (
        ("detect", path, tmp_path, "--out", tmp_path / "found"),
        ("calibrate", path, tmp_path),
        ("export", path, "--format", "onnx", "--out", tmp_path / "net.onnx"),
        ("test", "--ckpt_path", path, "--data.root", tmp_path, "--data.category", "widget"),
        (
            *("fit", "--config", "configs/destseg/segment.yaml", "--model.distilled", path),
            *("--data.root", tmp_path, "--data.category", "widget", "--model.system", "toy"),
        ),
    )
    for command in commands:
        assert main([str(word) for word in command]) == 2
        assert told in capsys.readouterr().err


def test_lightning_commands_import_the_plugin(unregistered, tmp_path, capsys):
    """Also one that a configuration names; with it, the data can be what it registers."""
    config = tmp_path / "mine.yaml"
    config.write_text("plugin: toy_plugin\ndata:\n  layout: toy\n")
    assert "toy" not in SYSTEMS
    arguments = ["fit", "--config", "configs/stpm/distill.yaml", "--config", str(config)]
    arguments += [f"--data.root={tmp_path}", "--data.category=part", "--model.weights=random"]
    assert main([*arguments, f"--model.teacher={tmp_path}"]) == 2  # stops after the import
    assert "backbone" in capsys.readouterr().err
    assert {"toy", "stpm"} <= set(SYSTEMS)


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("nowhere", None, r"--plugin is nowhere; there is no such module on Python's path or in "),
        ("mine.py", None, r"--plugin is 'mine.py'; give the name of a module as in `import`"),
        ("broken", "x = 1\nx.y", r"AttributeError in .*broken.py, line 2: 'int' object has no"),
        (
            "needy",
            "import padseg_gone",
            r"ModuleNotFoundError in .*needy.py, line 1: No module named",
        ),
        ("typo", "\ndef f(:\n", r"SyntaxError in .*typo.py, line 2: invalid syntax\.$"),
        (
            "level",
            "from padseg.metrics import register\n\nregister('a', None, 'pixels')",
            r"ConfigError in .*level.py, line 3: level is 'pixels'; give one of pixel, image\.$",
        ),
    ],
)
def test_plugins_that_cannot_be_imported(name, source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    if source is not None:
        (tmp_path / f"{name}.py").write_text(source)
    with pytest.raises(ConfigError, match=message):
        load_plugin(name)


def test_a_plugin_beside_the_package_may_begin_with_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "__file__", str(tmp_path / "padseg/plugins.py"))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "padseg_mine.py").write_text("x = 1\nx.y")
    with pytest.raises(ConfigError, match=r"AttributeError in .*padseg_mine.py, line 2: "):
        load_plugin("padseg_mine")


def test_a_plugin_lies_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "here_it_is.py").write_text("from pathlib import Path\nPath('done').touch()\n")
    load_plugin("here_it_is")
    assert (tmp_path / "done").is_file()
    del sys.modules["here_it_is"]
