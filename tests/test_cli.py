"""The command line, each command in a process of its own where start-up counts, else in this one."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from padseg.cli import main
from padseg.data import AnomalyDataModule
from padseg.inference import Predictor
from padseg.lightning_cli.recipes import config_path
from padseg.models import SYSTEMS
from padseg.modules import StudentDistillModule, read_checkpoint
from padseg.names import SYSTEM_NAMES
from tiny import tiny_arguments, tiny_segmentation, tiny_student

CONFIGS = Path(__file__).parents[1] / "configs"
SMALL = [*tiny_arguments(), "--model.weights=random", "--model.lr=0.05"]
QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]


def data_args(data_root, textures) -> list[str]:
    return [
        f"--data.root={data_root}",
        "--data.category=widget",
        f"--data.textures={textures}",
        "--data.batch_size=4",
        "--data.num_workers=0",
    ]


def command(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "padseg", *args], capture_output=True, text=True, check=False
    )


def test_version_and_help_load_no_torch():
    code = (
        "import sys; from padseg.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'lightning', 'numpy'} & set(sys.modules)"
    )
    for option in ("--version", "--help"):
        done = subprocess.run(
            [sys.executable, "-c", code, option], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert "run" in done.stdout


def test_mistakes_end_with_one_sentence_and_status_2(tmp_path, capsys, monkeypatch):
    arguments = ["run", "destseg", "--category", "widget", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["padseg", *arguments, "--root", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("padseg", run_name="__main__")
    assert end.value.code == 2
    (told,) = capsys.readouterr().err.strip().splitlines()
    assert "none does not exist" in told
    assert not (tmp_path / "out").exists()


def test_every_system_has_its_command_and_configuration():
    assert set(SYSTEM_NAMES) == set(SYSTEMS)
    for name, system in SYSTEMS.items():
        phases = {path.stem for path in (CONFIGS / name).glob("*.yaml")}
        assert phases == ({"distill", "segment"} if system.segmentation else {"distill"})


@pytest.fixture(scope="module")
def trained(data_root, textures, tmp_path_factory) -> Path:
    """Both phases through `fit`, as the README tells."""
    folder = tmp_path_factory.mktemp("fit")
    common = [*data_args(data_root, textures), *QUIET, f"--trainer.default_root_dir={folder}"]
    for phase, more in (
        ("distill", SMALL),
        (
            "segment",
            [f"--model.distilled={folder}/distill/last.ckpt", "--model.segmentation_width=16"],
        ),
    ):
        arguments = ["fit", "--config", str(config_path("destseg", phase)), *common, *more]
        arguments += ["--trainer.max_steps=2", f"--checkpoint.dirpath={folder}/{phase}"]
        assert main(arguments) == 0
    return folder


def test_processes_that_would_train_alone_are_told(
    data_root, textures, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    arguments = ["fit", "--config", str(config_path("destseg", "distill")), *SMALL, *QUIET]
    arguments += [*data_args(data_root, textures), f"--trainer.default_root_dir={tmp_path}"]
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert "torchrun has started 2 processes" in told
    assert "--trainer.devices 2 --trainer.strategy ddp" in told
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    for name in ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"):
        monkeypatch.setenv(name, "4")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert main(arguments) == 2
    assert "srun has started 4 processes, each would train alone" in capsys.readouterr().err


def test_lightnings_refusal_of_a_checkpoint_option_is_told(data_root, textures, capsys):
    arguments = ["fit", "--config", str(config_path("destseg", "distill")), *SMALL, *QUIET]
    arguments += [*data_args(data_root, textures), "--checkpoint.save_top_k=3"]
    assert main(arguments) == 2
    assert "--checkpoint or --trainer.callbacks: " in capsys.readouterr().err


def test_only_what_was_trained_is_scored(data_root, textures, tmp_path, capsys):
    data = [*data_args(data_root, textures), "--trainer.logger=false"]
    configured = ["--config", str(config_path("destseg", "distill")), *SMALL, *QUIET]
    none = ["--ckpt_path", "last", f"--checkpoint.dirpath={tmp_path / 'none'}"]
    for arguments, told in (
        (["predict", *configured], "--ckpt_path is not set: padseg predict needs"),
        (["test"], "--ckpt_path is not set: padseg test needs"),
        (["test", *configured, *none], "pass the --ckpt_path of one"),
    ):
        assert main([*arguments, *data, f"--trainer.default_root_dir={tmp_path}"]) == 2
        assert told in capsys.readouterr().err


def test_fit_writes_both_checkpoints(trained):
    assert (trained / "distill/last.ckpt").is_file()
    assert (trained / "segment/last.ckpt").is_file()


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


def test_a_training_replaces_none_that_is_there(trained, data_root, textures, tmp_path, capsys):
    shutil.copytree(trained / "distill", tmp_path / "distill")
    before = (tmp_path / "distill/last.ckpt").read_bytes()
    own = tmp_path / "config.yaml"
    own.write_text("mine")
    arguments = [*data_args(data_root, textures), *QUIET, "--trainer.logger=false"]
    arguments += [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_steps=3"]
    arguments += [f"--checkpoint.dirpath={tmp_path}/distill"]
    fit = ["fit", "--config", str(config_path("destseg", "distill")), *SMALL]
    assert main([*fit, *arguments]) == 2
    told = capsys.readouterr().err
    assert "last.ckpt is another training's: pass --ckpt_path last" in told
    assert (tmp_path / "distill/last.ckpt").read_bytes() == before
    # Nor does it go on with another recipe than it began with.
    assert main(["fit", *arguments, "--ckpt_path", str(tmp_path / "distill/last.ckpt")]) == 2
    assert "--config is not set" in capsys.readouterr().err
    # Nor does one that goes on from elsewhere replace it.
    arguments += ["--trainer.max_steps=4"]
    assert main([*fit, *arguments, "--ckpt_path", str(trained / "distill/last.ckpt")]) == 2
    assert "last.ckpt is another training's" in capsys.readouterr().err
    assert (tmp_path / "distill/last.ckpt").read_bytes() == before
    arguments += ["--trainer.max_steps=3"]
    assert main([*fit, *arguments, "--ckpt_path=last"]) == 0
    assert read_checkpoint(tmp_path / "distill/last.ckpt")["global_step"] == 3
    # What Lightning saves elsewhere when SLURM preempts a job is the training's own.
    shutil.copy(tmp_path / "distill/last.ckpt", tmp_path / "hpc_ckpt_1.ckpt")
    arguments += ["--trainer.max_steps=4"]
    assert main([*fit, *arguments, "--ckpt_path=hpc"]) == 0
    assert read_checkpoint(tmp_path / "distill/last.ckpt")["global_step"] == 4
    assert own.read_text() == "mine"


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


@pytest.mark.parametrize("option", ["accelerator=nothing", "devices=0", "strategy=nothing"])
def test_wrong_trainer_options_are_told(option, data_root, textures, capsys):
    arguments = ["fit", "--config", str(config_path("destseg", "distill")), *SMALL]
    arguments += [*data_args(data_root, textures), "--trainer.accelerator=cpu"]
    assert main([*arguments, f"--trainer.{option}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "--trainer: " in line


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


def test_another_class_of_checkpoint_is_refused(trained, data_root, textures, capsys):
    for subcommand in ("fit", "test"):
        arguments = [subcommand, "--config", str(config_path("destseg", "segment"))]
        arguments += data_args(data_root, textures)
        arguments += ["--ckpt_path", str(trained / "distill/last.ckpt")]
        assert main(arguments) == 2
        assert "the hand-off between the phases is --model.distilled" in capsys.readouterr().err


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


def test_an_interruption_is_told(data_root, textures, tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("padseg.modules.StudentDistillModule.training_step", interrupted)
    fit = ["fit", "--config", str(config_path("destseg", "distill")), *SMALL, *QUIET]
    fit += [*data_args(data_root, textures), f"--trainer.default_root_dir={tmp_path / 'fit'}"]
    with pytest.raises(SystemExit, match="interrupted; start it again"):
        main(fit)
    monkeypatch.undo()
    step = StudentDistillModule.training_step

    def second_interrupted(self, batch, batch_idx):
        if batch_idx:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr("padseg.modules.StudentDistillModule.training_step", second_interrupted)
    with pytest.raises(SystemExit, match=r"with --ckpt_path (\S+last\.ckpt) goes on") as end:
        main([*fit, "--checkpoint.every_n_train_steps=1"])
    monkeypatch.undo()
    (saved,) = (word for word in str(end.value).split() if word.endswith("last.ckpt"))
    more = ["--trainer.max_steps=2", "--ckpt_path", saved]
    assert main([*fit, *more]) == 0


def test_phase_two_goes_on_with_the_command_it_began_with(trained, data_root, textures, tmp_path):
    """The checkpoint holds the student that --model.distilled named."""
    shutil.copytree(trained / "segment", tmp_path / "segment")
    arguments = ["fit", "--config", str(config_path("destseg", "segment")), *QUIET]
    arguments += [*data_args(data_root, textures), f"--trainer.default_root_dir={tmp_path}"]
    arguments += [f"--model.distilled={trained}/distill/last.ckpt", "--model.segmentation_width=16"]
    arguments += [f"--checkpoint.dirpath={tmp_path}/segment", "--trainer.max_steps=3"]
    assert main([*arguments, "--ckpt_path", str(tmp_path / "segment/last.ckpt")]) == 0
    assert read_checkpoint(tmp_path / "segment/last.ckpt")["global_step"] == 3


def test_fit_of_stpm_leaves_the_best_step_calibrated(data_root, tmp_path):
    """Beside the last one, with thresholds of its own; `test` takes it."""
    arguments = ["fit", "--config", str(config_path("stpm", "distill")), *SMALL[:-1], *QUIET]
    arguments += [f"--data.root={data_root}", "--data.category=widget", "--data.batch_size=4"]
    # Without a rate only the BatchNorm statistics move, and the last step is not the best.
    arguments += ["--data.num_workers=0", "--model.lr=0", "--trainer.max_steps=8"]
    arguments += ["--trainer.val_check_interval=1", f"--trainer.default_root_dir={tmp_path}"]
    arguments += ["--trainer.precision=32-true"]
    assert main([*arguments, f"--checkpoint.dirpath={tmp_path}/out", "--trainer.logger=false"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"best.ckpt", "last.ckpt"}
    best, last = (read_checkpoint(tmp_path / f"out/{name}.ckpt") for name in ("best", "last"))
    assert best["global_step"] < last["global_step"] == 8
    thresholds = [saved["padseg"]["calibration"]["image_threshold"] for saved in (best, last)]
    assert thresholds[0] != thresholds[1]
    score = Predictor(tmp_path / "out/best.ckpt", device="cpu", precision="32-true")
    paths = sorted((data_root / "widget/train/good").iterdir())
    nearest = min(abs(found.image_score / thresholds[0] - 1) for found in score(paths))
    assert nearest < 1e-4  # it is the score of one of them


def test_nothing_to_validate_on_is_told(trained, data_root, textures, capsys):
    arguments = ["validate", "--ckpt_path", str(trained / "distill/last.ckpt"), *QUIET]
    arguments += [
        *data_args(data_root, textures),
        "--trainer.logger=false",
        "--data.val_fraction=0",
    ]
    assert main(arguments) == 2
    assert "--data.val_fraction is 0: no image is held out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("--nothing=1", "unrecognized arguments: --nothing=1 (see padseg fit --help)"),
        ("--seed_everything=true", "--seed_everything: give a number"),
        ("--seed_everything=5000000000", "it must be from 0 to 4294967295"),
        (
            "--model.foo=1",
            "--model: StudentDistillModule: Option 'foo' is not accepted (see padseg fit --model.help ",
        ),
        ("--model.lr=x", "--model: StudentDistillModule: --lr: expected float, not x (see"),
        ("--model.student.foo=1", "StudentDistillModule: unrecognized arguments: --student.foo=1"),
        ("--data.batch_size=x", "--data.batch_size: expected int, not x (see padseg fit --help)"),
        ("--data.augmentation=x", "expected one of 'auto', 'none', 'slight', 'full', not x"),
        ("--data.synthesis.threshold=x", "SynthesisParams: --threshold: expected float, not x"),
        ("--data.image_size=64", "--data.image_size is the model's: pass --model.image_size"),
    ],
)
def test_options_of_fit_are_told_in_one_sentence(wrong, told, data_root, textures, capsys):
    recipe = ["fit", "--config", str(config_path("destseg", "distill"))]
    assert main([*recipe, *data_args(data_root, textures), wrong]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line


def test_fit_without_a_recipe(data_root, textures, capsys):
    for more in ([], ["--model.system=destseg"]):
        assert main(["fit", *data_args(data_root, textures), *more]) == 2
        assert "--config is not set: name a recipe" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_test_like_one(trained, data_root, textures, tmp_path, monkeypatch):
    # The metrics add nothing, but convolutions round by the size of the batch and the threads.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    figures = []
    for devices in (1, 2):
        arguments = ["test", "--ckpt_path", str(trained / "segment/last.ckpt"), *QUIET]
        arguments += [*data_args(data_root, textures), "--data.batch_size=1"]
        arguments += [f"--trainer.devices={devices}"]
        arguments += ["--trainer.strategy=ddp", "--trainer.logger=CSVLogger"]
        arguments += [f"--trainer.logger.save_dir={tmp_path}/{devices}"]
        done = command(*arguments)
        assert done.returncode == 0, done.stderr
        (path,) = (tmp_path / str(devices)).rglob("metrics.csv")
        figures.append(path.read_text())
    assert figures[0] == figures[1]
    assert "iap90" in figures[0]


@pytest.mark.parametrize(
    "path",
    sorted(path for name in SYSTEM_NAMES for path in CONFIGS.glob(f"{name}/*.yaml")),
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_configurations_hold_only_differences_and_can_be_parsed(path, data_root, textures, capsys):
    assert set(yaml.safe_load(path.read_text())) <= {"model", "data", "trainer"}
    arguments = ["fit", "--config", str(path), f"--data.root={data_root}", "--data.category=widget"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--print_config"])
    assert end.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["class_path"].startswith("padseg.modules.")


@pytest.mark.parametrize(
    ("path", "batch", "steps", "val_fraction", "rates"),
    [
        ("stpm/distill", 32, 600, 0.2, [0.4]),
        ("rstpm/distill", 32, 700, 0, [0.4]),
        ("destseg/distill", 32, 1000, 0.1, [0.4]),
        ("destseg/segment", 32, 4000, 0.1, [0.1, 0.01]),
        ("pfadseg/distill", 16, 3000, 0.1, [0.5]),
        ("pfadseg/segment", 16, 4000, 0.1, [0.1, 0.01]),
    ],
)
def test_recipes_of_the_papers(path, batch, steps, val_fraction, rates, tmp_path):
    """Wang et al. and the authors' code (STPM), Zhang et al. and Song et al., section 4.1 each."""
    config = yaml.safe_load((CONFIGS / f"{path}.yaml").read_text())
    data = AnomalyDataModule("", "", **config.get("data", {}))
    assert (data.batch_size, data.val_fraction) == (batch, val_fraction)
    assert config["trainer"]["max_steps"] == steps
    system, phase = path.split("/")
    assert config["model"]["init_args"] == {"system": system}  # the rest are the classes' defaults
    module = tiny_student(system, image_size=32)
    if phase == "segment":
        network = module.network
        module = tiny_segmentation(system=system, network=network)
    groups = module.configure_optimizers().param_groups
    assert [group["lr"] for group in groups] == rates
    assert {(group["momentum"], group["weight_decay"]) for group in groups} == {(0.9, 1e-4)}
    assert not any(group["nesterov"] for group in groups)


def test_the_wandb_overlay_leaves_the_systems_callbacks(data_root, capsys):
    configs = [f"--config={CONFIGS / name}" for name in ("stpm/distill.yaml", "logger/wandb.yaml")]
    given = [*configs, f"--data.root={data_root}", "--data.category=widget", "--print_config"]
    with pytest.raises(SystemExit):
        main(["fit", *given])
    callbacks = yaml.safe_load(capsys.readouterr().out)["trainer"]["callbacks"]
    names = [callback["class_path"].rpartition(".")[-1] for callback in callbacks]
    assert names == ["BestCheckpoint", "WandbCallback", "LearningRateMonitor"]
