"""Checkpoints and results that are links, or that are not to be replaced."""

import shutil

import pytest

from padseg.cli import main
from padseg.modules import read_checkpoint, read_header
from padseg.modules.checkpoint import write_checkpoint

FAST = ("--device", "cpu", "--precision", "32-true")


def thresholds(path):
    return read_checkpoint(path)["padseg"]["calibration"]


def test_calibrate_through_a_link_changes_the_checkpoint_behind_it(checkpoint, data_root, tmp_path):
    target, link = tmp_path / "runs/epoch=3.ckpt", tmp_path / "latest.ckpt"
    target.parent.mkdir()
    shutil.copy(checkpoint, target)
    target.chmod(0o640)
    link.symlink_to(target)
    assert main(["calibrate", str(link), str(data_root / "widget/train/good"), *FAST]) == 0
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert thresholds(target) == thresholds(link) != thresholds(checkpoint)
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("linked", [False, True])
def test_a_read_only_checkpoint_is_refused_before_it_is_scored(
    linked, checkpoint, data_root, tmp_path, capsys, monkeypatch
):
    ours = tmp_path / "released.ckpt"
    shutil.copy(checkpoint, ours)
    ours.chmod(0o444)
    named = ours
    if linked:
        named = tmp_path / "latest.ckpt"
        named.symlink_to(ours)
    monkeypatch.setattr("padseg.inference.Predictor.stream", lambda *_: pytest.fail("scored"))
    assert main(["calibrate", str(named), str(data_root / "widget/train/good"), *FAST]) == 2
    (told,) = capsys.readouterr().err.strip().splitlines()
    assert f"checkpoint {named} cannot be written (the file is read-only)" in told
    assert ours.read_bytes() == checkpoint.read_bytes()


def test_trainings_write_through_links(checkpoint, tmp_path):
    (tmp_path / "real").mkdir()
    shutil.copy(checkpoint, tmp_path / "real/last.ckpt")
    (tmp_path / "last.ckpt").symlink_to("real/last.ckpt")
    content = read_checkpoint(checkpoint) | {"global_step": 77}
    write_checkpoint(content, tmp_path / "last.ckpt")
    assert read_header(tmp_path / "real/last.ckpt").global_step == 77
    assert (tmp_path / "last.ckpt").is_symlink()


def test_an_export_goes_through_a_link_and_replaces_nothing_read_only(checkpoint, tmp_path, capsys):
    out, link = tmp_path / "volume/net.safetensors", tmp_path / "net.safetensors"
    link.symlink_to(out)
    export = ["export", str(checkpoint), "--format", "safetensors", "--out"]
    assert main([*export, str(link)]) == 0
    assert link.is_symlink()
    first = out.read_bytes()
    out.chmod(0o444)
    assert main([*export, str(link)]) == 0  # with the same content
    out.chmod(0o644)
    out.write_bytes(b"another")
    assert main([*export, str(link)]) == 2
    assert "exists with other content" in capsys.readouterr().err
    assert out.read_bytes() == b"another" != first


def test_a_read_only_table_is_told(checkpoint, data_root, tmp_path, capsys):
    out = tmp_path / "out"
    detect = ["detect", str(checkpoint), str(data_root / "widget/test/good"), *FAST]
    assert main([*detect, "--out", str(out)]) == 0
    (out / "predictions.csv").write_text("noted by hand")
    (out / "predictions.csv").chmod(0o444)
    assert main([*detect, "--out", str(out)]) == 2
    (told,) = capsys.readouterr().err.strip().splitlines()
    assert "(predictions.csv: the file is read-only)" in told
    assert (out / "predictions.csv").read_text() == "noted by hand"
