"""Two devices train like one with the summed batch, and one device like itself."""

from pathlib import Path

import pytest
import torch
from jsonargparse import Namespace
from lightning import Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from padseg.errors import ConfigError
from padseg.lightning_cli.cli import PadsegCLI
from padseg.modules.sync_batch_norm import TrainedSyncBatchNorm
from tiny import run_worker, tiny_data, tiny_student

WORKER = Path(__file__).with_name("ddp_worker.py")


def train(folder, data_root, textures, devices, norms):
    done = run_worker(WORKER, folder, data_root, textures, devices, norms)
    assert done.returncode == 0, done.stderr
    assert "is deprecated" not in done.stderr
    return [torch.load(folder / f"{devices}-{rank}.pt") for rank in range(devices)]


def assert_alike(one, two, tolerance=1e-5):
    for step in range(len(one["losses"])):
        for name, whole in one["pairs"][step].items():
            halves = torch.cat([rank["pairs"][step][name] for rank in two])
            assert torch.equal(whole, halves), name
    # The loss is a sum over the images, so the processes' losses add up.
    losses = [sum(parts) for parts in zip(*(rank["losses"] for rank in two), strict=True)]
    assert len(losses) == 5
    assert losses == pytest.approx(one["losses"], rel=tolerance)
    assert one["losses"][-1] != pytest.approx(one["losses"][0], rel=1e-3)
    for name, value in one["weights"].items():
        torch.testing.assert_close(
            two[0]["weights"][name], value, rtol=10 * tolerance, atol=tolerance
        )


@pytest.mark.slow
def test_two_processes_train_like_one(data_root, textures, tmp_path):
    """With BatchNorm's statistics fixed: on CPUs each process has its own."""
    (one,) = train(tmp_path, data_root, textures, devices=1, norms="fixed")
    assert_alike(one, train(tmp_path, data_root, textures, devices=2, norms="fixed"))


@pytest.mark.slow
def test_local_statistics_are_evaluated_as_those_of_the_first(data_root, textures, tmp_path):
    first, second = train(tmp_path, data_root, textures, devices=2, norms="local")
    for rank in (first, second):
        for expected, kept in rank["trained"]:
            torch.testing.assert_close(kept, expected)
    of_first = first["trained"][-1][1]
    assert not torch.allclose(of_first, second["trained"][-1][1], rtol=1e-3)
    for rank in (first, second):
        assert rank["evaluated"]
        assert all(torch.equal(used, of_first) for used in (*rank["evaluated"], rank["final"]))


@pytest.mark.gpu
def test_two_gpus_train_like_one(data_root, textures, tmp_path):
    """With BatchNorm synchronised, as `padseg fit` does on GPUs; local statistics change losses by 2 %."""
    if torch.cuda.device_count() < 2:
        pytest.skip("there are no two GPUs")
    (one,) = train(tmp_path, data_root, textures, devices=1, norms="synchronised")
    two = train(tmp_path, data_root, textures, devices=2, norms="synchronised")
    assert_alike(one, two, tolerance=1e-4)


@pytest.mark.parametrize(
    ("there", "chosen", "precision", "synchronised"),
    [
        ("cuda", "auto", "bf16-mixed", True),
        ("cuda", "gpu", "bf16-mixed", True),
        ("cuda", "cpu", "32-true", False),
        ("cpu", "auto", "32-true", False),
        ("mps", "auto", "32-true", True),
    ],
)
def test_what_depends_on_the_device(there, chosen, precision, synchronised, monkeypatch):
    """A processor without bfloat16, beside a GPU that has it."""
    monkeypatch.setattr("padseg.lightning_cli.cli.accelerator", lambda: torch.device(there))
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: True)
    monkeypatch.setattr("padseg.machine.precision.cpu_has_bfloat16", lambda: False)
    cli = PadsegCLI.__new__(PadsegCLI)
    cli.subcommand = None
    given = {"sync_batchnorm": True, "benchmark": None, "deterministic": None}
    trainer = Namespace(accelerator=chosen, precision=None, **given)
    cli.config = Namespace(trainer=trainer, data=Namespace(batch_size=7))
    cli.before_instantiate_classes()
    assert (trainer.precision, trainer.sync_batchnorm) == (precision, synchronised)
    trainer.precision = "16-mixed"
    cli.config.data.batch_size = 8  # enough for statistics of their own
    cli.before_instantiate_classes()
    assert (trainer.precision, trainer.sync_batchnorm) == ("16-mixed", False)


@pytest.mark.parametrize(
    ("there", "command", "options", "chosen"),
    [
        ("cuda", "fit", {}, True),
        ("cuda", None, {}, True),  # `padseg run`
        ("cuda", "fit", {"deterministic": True}, None),  # Lightning's choice is False
        ("cuda", "fit", {"deterministic": "warn"}, None),
        ("cuda", "fit", {"benchmark": False}, False),
        ("cuda", "test", {}, None),
        ("cpu", "fit", {}, None),
    ],
)
def test_cudnn_is_timed_where_sizes_are_fixed(there, command, options, chosen, monkeypatch):
    monkeypatch.setattr("padseg.lightning_cli.cli.accelerator", lambda: torch.device(there))
    cli = PadsegCLI.__new__(PadsegCLI)
    cli.subcommand = command
    given = {"sync_batchnorm": True, "benchmark": None, "deterministic": None, **options}
    trainer = Namespace(accelerator="auto", precision="32-true", **given)
    config = {"trainer": trainer, "data": Namespace(batch_size=8)}
    cli.config = Namespace(**(config if command is None else {command: config}))
    cli.before_instantiate_classes()
    assert trainer.benchmark is chosen


@pytest.mark.parametrize("synchronised", [True, False])
def test_batch_norms_meet_if_the_trainer_says_so(synchronised, data_root, textures):
    module, data = tiny_student("stpm", image_size=32), tiny_data(data_root, image_size=32)
    options = {"strategy": "ddp", "sync_batchnorm": synchronised, "barebones": True}
    trainer = Trainer(accelerator="cpu", **options)
    trainer.datamodule, module._trainer = data, trainer
    module.setup("fit")
    assert isinstance(trainer.strategy._layer_sync, TrainedSyncBatchNorm) is synchronised


@pytest.mark.parametrize("strategy", ["ddp_fork", "ddp_spawn", "ddp_notebook"])
def test_processes_whose_results_stay_with_them_are_refused(strategy, data_root):
    module = tiny_student("stpm", image_size=32)
    module._trainer = Trainer(accelerator="cpu", strategy=strategy, devices=2, barebones=True)
    with pytest.raises(ConfigError, match="train in copies of the process"):
        module.setup("fit")
    module.setup("test")


@pytest.mark.parametrize("kind", [FSDPStrategy, ModelParallelStrategy, DeepSpeedStrategy])
@pytest.mark.parametrize("stage", ["fit", "test"])
def test_strategies_that_spread_the_weights_are_refused(kind, stage):
    module = tiny_student("stpm", image_size=32)
    module._trainer = Trainer(accelerator="cpu", barebones=True)
    module._trainer._accelerator_connector.strategy = kind.__new__(kind)  # which wants a GPU
    with pytest.raises(ConfigError, match=f"is {kind.__name__}, which spreads .* use ddp"):
        module.setup(stage)
