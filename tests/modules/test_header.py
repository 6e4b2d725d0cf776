"""What a checkpoint says about itself."""

import pickle
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import lightning
import pytest
import torch

from padseg import __version__
from padseg.errors import CheckpointError
from padseg.modules import Header, StudentDistillModule, read_checkpoint, read_header
from padseg.modules.checkpoint import store_calibration
from padseg.modules.header import HEADER_KEY
from padseg.modules.loading import load_module
from tiny import fill_memory, tiny_student


@pytest.fixture(scope="module")
def module(make_calibration) -> StudentDistillModule:
    module = tiny_student(image_size=(64, 96))
    module.calibration = make_calibration(0.25, 0.5)
    return module


@pytest.fixture
def checkpoint(module, tmp_path):
    path = tmp_path / "module.ckpt"
    stored = {"state_dict": module.state_dict(), "global_step": 7}
    stored["pytorch-lightning_version"] = lightning.__version__
    module.on_save_checkpoint(stored)
    torch.save(stored, path)
    return path


@pytest.mark.parametrize("other", [{"top_k": 1}, {"image_size": 96}])
def test_thresholds_of_other_scores_are_dropped(other, checkpoint, module, caplog):
    again = StudentDistillModule.load_from_checkpoint(checkpoint, image_size=(64, 96))
    assert again.calibration == module.calibration
    assert not caplog.records
    assert StudentDistillModule.load_from_checkpoint(checkpoint, **other).calibration is None
    assert "set thresholds again with padseg calibrate" in caplog.text


def test_a_header_says_what_rebuilds_the_module(checkpoint, module):
    header = read_header(checkpoint)
    assert header.class_name == "StudentDistillModule"
    assert header.system == "destseg"
    assert header.network.width == 16
    assert header.hyper_parameters["image_size"] == [64, 96]
    assert header.teacher_sha256 == module.student_teacher.fingerprint()
    assert header.calibration == module.calibration
    assert header.global_step == 7
    own = read_checkpoint(checkpoint)[HEADER_KEY]
    assert (own["version"], own["format"]) == (__version__, 1)
    again = StudentDistillModule(**header.hyper_parameters)
    again.load_state_dict(read_checkpoint(checkpoint)["state_dict"])
    assert again.image_size == (64, 96)
    assert again.student_teacher.fingerprint() == header.teacher_sha256


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what is read")
def test_a_header_is_read_without_the_tensors(checkpoint):
    def bytes_read(read) -> int:
        counts = []
        for step in (lambda: None, lambda: read(checkpoint)):
            step()
            first_line = Path("/proc/self/io").read_text().splitlines()[0]
            counts.append(int(first_line.removeprefix("rchar: ")))
        return counts[1] - counts[0]

    size = checkpoint.stat().st_size
    assert bytes_read(read_checkpoint) > 0.9 * size
    assert bytes_read(read_header) < 0.1 * size


def test_a_header_goes_into_a_checkpoint_and_out_of_it(checkpoint):
    header = read_header(checkpoint)
    assert Header.from_checkpoint(header.to_checkpoint() | {"global_step": 7}) == header
    bare = replace(header, calibration=None, precision="bf16-mixed", global_step=0)
    assert Header.from_checkpoint(bare.to_checkpoint()) == bare


def test_thresholds_are_replaced_and_what_is_not_known_is_kept(
    checkpoint, make_calibration, monkeypatch
):
    stored = torch.load(checkpoint, weights_only=True)
    stored[HEADER_KEY]["of_a_later_release"] = 1
    torch.save(stored, checkpoint)
    drafts: set[Path] = set()  # those of two processes must not be the same file
    replace_file = Path.replace
    monkeypatch.setattr(Path, "replace", lambda a, b: drafts.add(a) or replace_file(a, b))
    for number, calibration in enumerate((make_calibration(0.1, 0.2), None), start=1):
        store_calibration(checkpoint, calibration, shared=True)
        assert len(drafts) == number
        assert read_header(checkpoint).calibration == calibration
        assert read_checkpoint(checkpoint)[HEADER_KEY]["of_a_later_release"] == 1


def test_the_last_phase_of_a_folder_is_the_example(tmp_path):
    for name in ("distill.ckpt", "segment.ckpt"):
        (tmp_path / name).touch()
    for read in (read_checkpoint, load_module):
        with pytest.raises(CheckpointError, match=r"such as .*segment\.ckpt"):
            read(tmp_path)


class Attack:
    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return (open, (self.witness, "w"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("read", [read_header, read_checkpoint])
def test_both_readers_refuse_the_same(read, checkpoint, tmp_path):
    path, witness = tmp_path / "bad.ckpt", tmp_path / "witness"
    stored = torch.load(checkpoint, weights_only=True)
    with pytest.raises(CheckpointError, match="does not exist"):
        read(path)
    for save in (torch.save, lambda what, where: where.write_bytes(pickle.dumps(what))):
        save(stored | {"more": Attack(str(witness))}, path)
        with pytest.raises(CheckpointError, match="could run code"):
            read(path)
        assert not witness.exists()
    for content, told in (
        (b"", "is empty"),
        (b"some text", "not a checkpoint of padseg"),
        (b"\x89PNG\r\n\x1a\n and so on", "not a checkpoint of padseg"),
        (checkpoint.read_bytes()[:5000], "is damaged"),
        (checkpoint.read_bytes()[:500], r"is damaged \([^.]*\): restore it, or remove it"),
        (checkpoint.read_bytes()[:-100], "is damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=told):
            read(path)
    with zipfile.ZipFile(path, "w") as archive:  # as an exported program is
        archive.writestr("net/version", "1")
    with pytest.raises(CheckpointError, match="not a checkpoint of padseg"):
        read(path)
    broken = {name: value for name, value in stored[HEADER_KEY].items() if name != "network"}
    for changed, told in (
        ({}, None),
        ({HEADER_KEY: stored[HEADER_KEY] | {"format": 99}}, "format 99, but this padseg reads 1"),
        ({HEADER_KEY: broken}, "is damaged .*network"),
        ({HEADER_KEY: 1}, "is damaged"),
    ):
        torch.save(stored | changed, path)
        if told is None:
            read(path)
        else:
            with pytest.raises(CheckpointError, match=told):
                read(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of padseg"):
        read(path)


@pytest.mark.parametrize("exact", [True, False])
def test_teachers_that_float16_holds_exactly_are_stored_in_it(exact, tmp_path):
    options = {"teacher": "test_vit3", "blocks": [[1], [2]]}
    module = tiny_student("tedseg", **options)
    fill_memory(module.student_teacher, torch.rand(2, 3, 64, 64))
    teacher = module.student_teacher.teacher
    teacher.half().float()
    if not exact:
        with torch.no_grad():
            next(teacher.parameters()).add_(1e-4)
    stored = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(stored)
    kinds = {
        name.startswith("student_teacher.teacher."): value.dtype
        for name, value in stored["state_dict"].items()
        if value.is_floating_point()
    }
    assert kinds == {True: torch.float16 if exact else torch.float32, False: torch.float32}
    torch.save(stored, tmp_path / "module.ckpt")
    again = load_module(tmp_path / "module.ckpt")
    assert (
        again.student_teacher.fingerprint() == read_header(tmp_path / "module.ckpt").teacher_sha256
    )
    for name, value in module.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
        assert again.state_dict()[name].dtype == value.dtype
