"""Configurations and checkpoints that complete a command line."""

import shutil

import pytest
import yaml

from padseg.cli import main
from padseg.lightning_cli.recipes import config_path
from padseg.modules import read_checkpoint

from .conftest import QUIET, SMALL, data_args


@pytest.mark.parametrize("option", [["--config", "{}"], ["--config={}"], ["-c", "{}"]])
def test_configurations_are_found_from_any_folder(option, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "configs/pfadseg/distill.yaml"
    arguments = ["fit", *(part.format(name) for part in option), "--print_config"]
    with pytest.raises(SystemExit, match="0"):
        main(arguments)
    printed = capsys.readouterr().out
    assert "system: pfadseg" in printed
    assert "\n  devices: 1\n" in printed  # more are to be asked for
    (tmp_path / name).parent.mkdir(parents=True)
    own = config_path("pfadseg", "distill").read_text().replace("pfadseg", "destseg")
    (tmp_path / name).write_text(own)
    with pytest.raises(SystemExit, match="0"):
        main(arguments)
    assert "system: destseg" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*not defined and set to nan")  # a validation without defects
@pytest.mark.parametrize("subcommand", ["validate", "test", "predict"])
@pytest.mark.parametrize("phase", ["distill", "segment"])
def test_a_checkpoint_needs_no_configuration(
    trained, data_root, textures, phase, subcommand, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    arguments = [subcommand, "--ckpt_path", str(trained / phase / "last.ckpt")]
    arguments += [*data_args(data_root, textures), *QUIET, "--trainer.logger=false"]
    assert main(arguments) == 0
    assert not list(tmp_path.glob("*.yaml"))
    if subcommand == "test":
        assert "pixel_auroc" in capsys.readouterr().out
        # Nor has a configuration that is not of the model to name its class.
        (tmp_path / "trainer.yaml").write_text("trainer: {limit_test_batches: 1}")
        assert main([*arguments, "--config", "trainer.yaml"]) == 0


@pytest.mark.filterwarnings("ignore:.*there is no last checkpoint available")
def test_only_what_was_trained_is_scored(data_root, textures, tmp_path, capsys):
    data = [*data_args(data_root, textures), "--trainer.logger=false"]
    configured = ["--config", str(config_path("destseg", "distill")), *SMALL, *QUIET]
    none = ["--ckpt_path", "last", f"--checkpoint.dirpath={tmp_path / 'none'}"]
    for arguments, told in (
        (["predict", *configured], "--ckpt_path is not set: padseg predict needs"),
        (["test"], "--ckpt_path is not set: padseg test needs"),
        (["test", *configured, *none], "--ckpt_path is 'last'; pass the path of"),
    ):
        assert main([*arguments, *data, f"--trainer.default_root_dir={tmp_path}"]) == 2
        assert told in capsys.readouterr().err


def test_another_class_of_checkpoint_is_refused(trained, data_root, textures, capsys):
    for subcommand in ("fit", "test"):
        arguments = [subcommand, "--config", str(config_path("destseg", "segment"))]
        arguments += data_args(data_root, textures)
        arguments += ["--ckpt_path", str(trained / "distill/last.ckpt")]
        assert main(arguments) == 2
        assert (
            "to hand phase one over to phase two, use --model.distilled" in capsys.readouterr().err
        )


@pytest.mark.slow
def test_options_that_the_checkpoint_would_override_are_refused(
    trained, data_root, textures, capsys
):
    checkpoint = str(trained / "distill/last.ckpt")
    arguments = ["test", "--ckpt_path", checkpoint, *data_args(data_root, textures), *QUIET]
    same = ["--model.image_size=64", "--model.weights=pretrained"]
    assert main([*arguments, *same]) == 0, capsys.readouterr().err
    assert main([*arguments, "--model.top_k", "7"]) == 2
    assert "--model.top_k is 7" in capsys.readouterr().err
    assert main([*arguments, "--model.init_args.lr=0.3"]) == 2
    assert "leave the option out" in capsys.readouterr().err


def test_missing_and_hostile_checkpoints(data_root, textures, tmp_path, capsys):
    arguments = ["test", *data_args(data_root, textures), "--ckpt_path"]
    assert main([*arguments, str(tmp_path / "none.ckpt")]) == 2
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "bad.ckpt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert main([*arguments, str(tmp_path / "bad.ckpt")]) == 2
    assert "bad.ckpt" in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_goes_on_with_its_own_recipe_only(
    trained, data_root, textures, tmp_path, capsys
):
    shutil.copytree(trained / "distill", tmp_path / "distill")
    recipe = yaml.safe_load(config_path("destseg", "distill").read_text())
    recipe["model"].setdefault("init_args", {})["lr"] = 0.3
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(recipe))
    rest = [*data_args(data_root, textures), *QUIET, "--trainer.logger=false"]
    rest += [f"--checkpoint.dirpath={tmp_path}/distill", "--trainer.max_steps=9"]
    rest += [option for option in SMALL if "lr" not in option]
    for config, told in (
        (tmp_path / "other.yaml", "trained with --model.lr 0.05, not 0.3"),
        (config_path("pfadseg", "distill"), "the configured system is pfadseg"),
    ):
        for path in ("last", str(tmp_path / "distill/last.ckpt")):
            assert main(["fit", "--config", str(config), *rest, "--ckpt_path", path]) == 2
            assert told in capsys.readouterr().err


@pytest.mark.slow
def test_phase_two_goes_on_with_the_command_it_began_with(
    trained, data_root, textures, tmp_path, monkeypatch
):
    """The checkpoint holds the student that --model.distilled named; shells leave the `~` after `=`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    arguments = ["fit", "--config", str(config_path("destseg", "segment")), *QUIET]
    arguments += [*data_args(data_root, textures), f"--trainer.default_root_dir={tmp_path}"]
    arguments += ["--model.distilled=~/distill/last.ckpt", "--model.segmentation_width=16"]
    arguments += [f"--checkpoint.dirpath={tmp_path}/segment", "--trainer.max_steps=3"]
    assert main([*arguments, "--ckpt_path=~/segment/last.ckpt"]) == 0
    assert read_checkpoint("~/segment/last.ckpt")["global_step"] == 3
    written = max(tmp_path.rglob("config.yaml"), key=lambda path: path.stat().st_mtime)
    saved = yaml.safe_load(written.read_text())
    assert saved["ckpt_path"] == str(tmp_path / "segment/last.ckpt")
    # Without it, the same file begins the training again.
    assert saved["model"]["init_args"]["distilled"] == "~/distill/last.ckpt"
    assert saved["model"]["init_args"]["network"] is None
    scored = [*data_args(data_root, textures), *QUIET, "--trainer.logger=false"]
    assert main(["test", "--ckpt_path=~/segment/last.ckpt", *scored]) == 0


@pytest.mark.parametrize("form", ["--config {}", "--config={}", "-c {}"])
def test_a_recipe_may_follow_the_options_that_win_over_it(form, tmp_path, capsys):
    (tmp_path / "own.yaml").write_text("trainer:\n  max_steps: 7\ndata:\n  batch_size: 3\n")
    recipe, own = (
        form.format(name).split() for name in ("configs/destseg/distill.yaml", "own.yaml")
    )
    given = ["--model.lr=0.125", "--data.batch_size=5", *recipe, *own, "--print_config"]
    with pytest.raises(SystemExit, match="0"):
        main(["fit", *given])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["init_args"]["lr"] == 0.125
    assert printed["data"]["batch_size"] == 5
    assert printed["trainer"]["max_steps"] == 7


def test_fit_without_a_recipe(data_root, textures, capsys):
    for more in ([], ["--model.system=destseg"]):
        assert main(["fit", *data_args(data_root, textures), *more]) == 2
        assert "--config is not set: name a recipe" in capsys.readouterr().err
