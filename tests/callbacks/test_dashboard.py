"""What is logged to Weights & Biases, and a real run in offline mode."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import wandb
import yaml
from lightning.pytorch.callbacks import LearningRateMonitor

from padseg.callbacks import (
    EvaluationCallback,
    SectionedWandbLogger,
    ThresholdCallback,
    WandbCallback,
)
from padseg.callbacks.wandb_artifacts import log_model
from padseg.callbacks.wandb_logger import section
from padseg.callbacks.wandb_runs import start_wandb
from padseg.cli import main
from padseg.errors import ConfigError
from padseg.machine.files import read_json
from padseg.modules import read_checkpoint, read_header
from padseg.records import read_records
from tiny import tiny_arguments, tiny_segmentation, tiny_student

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module", autouse=True)
def _own_folders(tmp_path_factory):
    """Where W&B keeps artifacts until they are uploaded."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name)))
        yield


class RecordingLogger(SectionedWandbLogger):
    """Keeps what is sent instead of sending it, under the names that W&B sees."""

    def __init__(self, offline=False, missing=False):
        super().__init__(project="test")
        self.config, self.metrics, self.images, self.tables = {}, {}, {}, {}
        self.charts, self.logged, self.used = {}, [], []
        self.missing = missing
        self.run = SimpleNamespace(
            offline=offline,
            disabled=False,
            id="id",
            log=self.keep,
            config=SimpleNamespace(update=lambda values, **_: self.config.update(values)),
            log_artifact=self.logged.append,
            use_artifact=self.used.append,
        )

    @property
    def experiment(self):
        return self.run

    def keep(self, values):
        kind = (
            self.charts if len(values) == 1 and "/curves/" in next(iter(values)) else self.metrics
        )
        kind.update(values)

    def log_image(self, key, images, step=None, **kwargs):
        assert all(len(values) == len(images) for values in kwargs.values())
        self.images[key] = {"images": images, "step": step, **kwargs}

    def log_table(self, key, columns=None, data=None, dataframe=None, step=None):
        self.tables[key] = [dict(zip(columns, row, strict=True)) for row in data]

    def use_artifact(self, artifact, artifact_type=None):
        if self.missing:
            raise wandb.CommError("no such artifact")
        self.used.append((artifact, artifact_type))

    def after_save_checkpoint(self, checkpoint_callback):
        pass


@pytest.fixture(scope="module")
def distilled(module, make_data, make_trainer, tmp_path_factory):
    """A short distillation and its test, as a logger sees them, and the checkpoint."""
    logger = RecordingLogger()
    trainer = make_trainer(
        EvaluationCallback(),
        WandbCallback(pairs=3, pictures=2, table=5),
        LearningRateMonitor(),
        logger=logger,
        max_steps=2,
        val_check_interval=1,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
    )
    data = make_data()
    trainer.fit(module, datamodule=data)
    path = tmp_path_factory.mktemp("distilled") / "distill.ckpt"
    trainer.save_checkpoint(path)
    trainer.test(module, datamodule=data, verbose=False)
    return logger, path


def test_figures_rates_and_configuration(distilled):
    logger, _ = distilled
    names = ("image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_ap", "pixel_f1max")
    # The student of two phases has a section of its own for its test.
    tested = {f"test-distill/{name}" for name in (*names, "pro", "iap", "iap90")}
    assert {*tested, "train/loss", "val/pixel_ap", "val/score_map"} <= set(logger.metrics)
    assert any(name.startswith("train/lr-") for name in logger.metrics)
    rooms = {name.partition("/")[0] for name in logger.metrics}
    assert rooms == {"train", "val", "test-distill", "thresholds", "trainer"}
    assert set(logger.metrics) >= {"thresholds/image", "thresholds/pixel"}
    assert logger.config["system"] == "destseg"
    assert logger.config["phase"] == "distill"
    assert logger.config["width"] == 16
    assert logger.config["teacher"] == "test_resnet"  # of tests/tiny.py
    assert logger.config["data.category"] == "widget"
    assert logger.config["data.synthesis.backend"] == "perlin"
    assert logger.config["trainer.max_steps"] == 2
    assert not any(isinstance(value, dict) for value in logger.config.values())
    json.dumps(logger.config)


def test_pairs_are_those_of_the_training(distilled, make_data):
    logger, _ = distilled
    pairs = make_data().pairs(0, 3)
    for name in ("clean", "corrupted", "texture"):
        sent = np.stack(logger.images[f"train/{name}"]["images"])
        expected = pairs[name].permute(0, 2, 3, 1).numpy() * 255
        np.testing.assert_allclose(sent, expected, atol=0.51)
    masks = [each["defect"]["mask_data"] for each in logger.images["train/corrupted"]["masks"]]
    assert (np.stack(masks) == pairs["mask"][:, 0].numpy()).all()


def test_evaluations_send_pictures_with_masks(distilled):
    logger, _ = distilled
    assert set(logger.images) >= {
        *("val/normal", "val/defect", "test-distill/normal", "test-distill/defect")
    }
    sent = logger.images["test-distill/defect"]
    assert len(sent["images"]) == 2
    assert sent["step"] == 2
    for masks in sent["masks"]:
        assert set(masks) == {"defect", "found"}
        assert masks["defect"]["mask_data"].any()
        assert masks["defect"]["mask_data"].shape == (64, 64)
        assert set(np.unique(masks["found"]["mask_data"])) <= {0, 2}
    for masks in logger.images["test-distill/normal"]["masks"]:
        assert not masks["defect"]["mask_data"].any()
    assert all("score" in caption for caption in sent["caption"])


def test_the_table_has_a_row_an_image(distilled):
    logger, _ = distilled
    rows = logger.tables["test-distill/images"]
    assert len(rows) == 5  # as many as asked for
    assert list(rows[0]) == [
        *("index", "defect", "file", "label", "score", "image_score"),
        *("verdict", "picture", "overlay"),
    ]
    for row in rows:
        assert row["defect"] == ("spot" if row["label"] else "good")
        assert row["verdict"] in {"passed normal", "false alarm", "found defect", "missed defect"}
        assert isinstance(row["picture"], wandb.Image)
        assert isinstance(row["overlay"], wandb.Image)


def test_curves_are_plots(distilled):
    logger, _ = distilled
    assert {name.removeprefix("test-distill/curves/") for name in logger.charts} == {
        *("pixel_precision_recall", "pixel_roc", "pro", "iap"),
        *("image_precision_recall", "image_roc"),
    }
    chart = logger.charts["test-distill/curves/image_roc"]
    points = np.array(chart.table.data)
    area = np.trapezoid(points[:, 1], points[:, 0])
    assert area == pytest.approx(float(logger.metrics["test-distill/image_auroc"]), abs=1e-6)


def fit_segmentation(path, make_data, make_trainer, logger):
    torch.manual_seed(0)
    module = tiny_segmentation(path)
    trainer = make_trainer(WandbCallback(), logger=logger, max_steps=1)
    trainer.fit(module, datamodule=make_data())
    assert not logger.logged
    return logger


def test_the_student_is_handed_over_as_an_artifact(distilled, make_data, make_trainer):
    logger, path = distilled
    (artifact,) = logger.logged
    assert artifact.type == "student"
    assert logger.config["student"] == artifact.name
    assert set(artifact.manifest.entries) == {"distill.ckpt"}
    # What is uploaded is a checkpoint that a segmentation starts from.
    copy = Path(artifact.manifest.entries["distill.ckpt"].local_path)
    stored, kept = (read_checkpoint(each)["state_dict"] for each in (copy, path))
    assert all(torch.equal(stored[name], kept[name]) for name in kept)
    found = fit_segmentation(path, make_data, make_trainer, RecordingLogger())
    assert found.used == [(f"{artifact.name}:latest", "student")]
    assert found.config["student"] == artifact.name
    assert found.config["phase"] == "segment"


def test_the_configuration_of_phase_two_has_that_of_phase_one(distilled, make_data, make_trainer):
    logger, path = distilled
    found = fit_segmentation(path, make_data, make_trainer, RecordingLogger()).config
    assert not any(isinstance(value, dict) for value in found.values())
    for name in ("teacher", "width", "system"):
        assert found[name] == logger.config[name]
    own = read_header(path).hyper_parameters
    for name in ("lr", "momentum", "width", "student_input", "image_size"):
        assert found[f"distill.{name}"] == own[name]
    assert found["distill.steps"] == 2
    assert found["lr_head"] > 0
    json.dumps(found)


def test_thresholds_are_figures(distilled, make_data, make_trainer, make_calibration):
    _, path = distilled
    logger = RecordingLogger()
    module = tiny_segmentation(path)
    trainer = make_trainer(WandbCallback(), ThresholdCallback(), logger=logger, max_steps=1)
    trainer.fit(module, datamodule=make_data())
    assert module.calibration is not None
    assert logger.metrics["thresholds/image"] == pytest.approx(module.calibration.image_threshold)
    assert logger.metrics["thresholds/pixel"] == pytest.approx(module.calibration.pixel_threshold)
    assert "thresholds/image_recall" in logger.metrics


@pytest.mark.parametrize(
    ("system", "expected"), [("stpm", "test/pro"), ("destseg", "test-distill/pro")]
)
def test_only_a_first_phase_has_a_section_of_its_own(system, expected):
    logger = RecordingLogger()
    logger.test_section = section(tiny_student(system, image_size=32), "test")
    logger.log_metrics({"pro": 1.0, "mine": 2.0, "layer_scale": 3.0}, step=1)
    assert set(logger.metrics) == {expected, "mine", "train/layer_scale", "trainer/global_step"}


def test_the_final_model_is_a_version_with_aliases(distilled):
    _, path = distilled
    logger, sent = RecordingLogger(), []
    logger.run.log_artifact = lambda artifact, aliases: sent.append((artifact, aliases))
    log_model(logger, "run one-metal nut/x", path, ["final", "seed3"], {"pro": 0.5})
    ((artifact, aliases),) = sent
    assert artifact.type == "model"
    assert artifact.name == "run-one-metal-nut-x"
    assert aliases == ["latest", "final", "seed3"]
    assert artifact.metadata == {"pro": 0.5}
    assert list(artifact.manifest.entries) == [path.name]


def test_pairs_of_phase_two_are_those_it_trains_on(distilled, make_data, make_trainer):
    _, path = distilled
    logger = fit_segmentation(path, make_data, make_trainer, RecordingLogger())
    begin = read_checkpoint(path)["AnomalyDataModule"]["next_sample"]
    sent = np.stack(logger.images["train/clean"]["images"])
    expected = make_data().pairs(begin, len(sent))["clean"].permute(0, 2, 3, 1).numpy() * 255
    assert begin > 0
    np.testing.assert_allclose(sent, expected, atol=0.51)


def test_a_student_that_no_run_has_logged(distilled, make_data, make_trainer):
    logger, path = distilled
    found = fit_segmentation(path, make_data, make_trainer, RecordingLogger(missing=True))
    (artifact,) = found.used
    assert artifact.name == logger.config["student"]
    copy = Path(artifact.manifest.entries["distill.ckpt"].local_path)
    assert copy.read_bytes() == path.read_bytes()


def test_offline_the_configuration_names_the_student(distilled, make_data, make_trainer):
    logger, path = distilled
    found = fit_segmentation(path, make_data, make_trainer, RecordingLogger(offline=True))
    assert not found.used
    assert found.config["student"] == logger.config["student"]


def test_another_student_has_another_name(distilled, make_data, make_trainer, tmp_path):
    logger, path = distilled
    checkpoint = torch.load(path, weights_only=True)
    name = next(name for name in checkpoint["state_dict"] if ".student." in name)
    checkpoint["state_dict"][name] += 1
    torch.save(checkpoint, tmp_path / "other.ckpt")
    found = fit_segmentation(
        tmp_path / "other.ckpt", make_data, make_trainer, RecordingLogger(offline=True)
    )
    assert found.config["student"] != logger.config["student"]


def test_without_its_logger_it_does_nothing(module, make_data, make_trainer):
    trainer = make_trainer(WandbCallback(), max_steps=1, fast_dev_run=True)
    trainer.fit(module, datamodule=make_data())


def test_the_overlay_is_parsed(data_root, capsys):
    arguments = ["fit", "--config", str(CONFIGS / "destseg/distill.yaml")]
    arguments += ["--config", str(CONFIGS / "logger/wandb.yaml"), f"--data.root={data_root}"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--data.category=widget", "--print_config"])
    assert end.value.code == 0
    trainer = yaml.safe_load(capsys.readouterr().out)["trainer"]
    assert trainer["logger"]["class_path"].endswith(".SectionedWandbLogger")
    assert len(trainer["callbacks"]) == 2
    assert trainer["max_steps"] == 1000


def test_the_sweep_runs_a_command_that_is_parsed(data_root, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # as from an installed package, which brings the configurations
    sweep = yaml.safe_load((CONFIGS / "sweep/wandb.yaml").read_text())
    assert sweep["metric"]["name"] == "val/pixel_ap"
    chosen = [f"--{key}={each['values'][-1]}" for key, each in sweep["parameters"].items()]
    arguments = [word for word in sweep["command"][1:] if word != "${args}"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, *chosen, "--print_config"])
    assert end.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["seed_everything"] == 2
    assert printed["data"]["category"] == "capsule"
    assert printed["model"]["init_args"]["lr"] == 0.4


def test_a_missing_login_is_told(make_trainer, tmp_path, monkeypatch):
    def refuse(**options):
        raise wandb.errors.UsageError("api_key not configured (no-tty). Call wandb.login.")

    monkeypatch.setattr(wandb, "init", refuse)
    told = r"--wandb factory: api_key not configured .*; run `wandb login`, or set WANDB_MODE"
    with pytest.raises(ConfigError, match=told):
        start_wandb("factory", tmp_path, tmp_path / "logs/distill", "group", 0, "distill")


def test_a_wrong_setting_is_no_missing_login(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "off")
    with pytest.raises(ConfigError, match="--wandb factory: ") as told:
        start_wandb("factory", tmp_path, tmp_path / "logs/distill", "group", 0, "distill")
    assert "login" not in str(told.value)
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(ConfigError, match="project name") as told:
        start_wandb("a/b", tmp_path, tmp_path / "logs/distill", "group", 0, "distill")
    assert "login" not in str(told.value)


def test_seeds_share_a_group(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(
        wandb, "init", lambda **options: started.append(options) or wandb.sdk.lib.RunDisabled()
    )
    for seed in (0, 1):
        start_wandb("factory", tmp_path, tmp_path / f"logs{seed}", "x bolt", seed, "segment")
    assert {each["group"] for each in started} == {"x bolt"}
    assert [each["name"] for each in started] == ["x bolt seed0 segment", "x bolt seed1 segment"]
    assert {each["job_type"] for each in started} == {"segment"}


@pytest.mark.slow
def test_a_real_run_without_network(data_root, textures, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    out = tmp_path / "out"
    arguments = [
        *("run", "destseg", "--root", str(data_root), "--category", "widget", "--out", str(out)),
        *("--textures", str(textures), "--steps", "2", "2", "--batch-size", "4", "--label", "x"),
        *("--weights", "random", *tiny_arguments(phases=2), "--data.num_workers=0"),
        *("--trainer.val_check_interval=1", "--trainer.enable_progress_bar=false"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "padseg", *arguments, "--wandb", "padseg-test"],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    folder = out / "x/widget/seed0"
    runs = sorted((folder / "wandb").glob("offline-run-*"))
    assert len(runs) == 2  # a phase each
    # What goes on in a phase that was cut off is the same W&B run.
    ids = [read_json(folder / f"logs/{phase}/wandb.json")["id"] for phase in ("distill", "segment")]
    assert [run.name.rpartition("-")[2] for run in runs] == ids
    for run, room in zip(runs, ("test-distill", "test"), strict=True):
        (log,) = run.glob("run-*.wandb")
        media = run / "files/media"
        assert len(list((media / f"images/{room}").glob("*.png"))) == 7
        assert len(list((media / "images/train").glob("corrupted*.png"))) == 8
        assert list((media / f"images/mask/{room}").glob("*.png"))
        assert len(list((media / f"table/{room}/curves").glob("*.json"))) == 6
        (table,) = (media / f"table/{room}").glob("*.json")
        sent = log.read_bytes()
        assert f"{room}/image_auroc".encode() in sent
        assert b"thresholds/image" in sent
        assert (b"x-widget" in sent) == (room == "test")  # the final model
        assert len(json.loads(table.read_text())["data"]) == 7
    # The results do not depend on who looks on: the same command without W&B finds them finished.
    before = hashlib.sha256((folder / "metrics.json").read_bytes()).digest()
    assert main(arguments) == 0
    assert hashlib.sha256((folder / "metrics.json").read_bytes()).digest() == before
    assert len(read_records(folder).table) == 7
