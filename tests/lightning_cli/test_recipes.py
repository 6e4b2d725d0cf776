"""The configurations that come with padseg."""

from pathlib import Path

import pytest
import yaml

from padseg.cli import main
from padseg.data import AnomalyDataModule
from padseg.models import SYSTEMS
from padseg.names import SYSTEM_NAMES
from tiny import tiny_segmentation, tiny_student

CONFIGS = Path(__file__).parents[2] / "configs"


def test_every_system_has_its_command_and_configuration():
    assert set(SYSTEM_NAMES) == set(SYSTEMS)
    for name, system in SYSTEMS.items():
        phases = {path.stem for path in (CONFIGS / name).glob("*.yaml")}
        assert phases == ({"distill", "segment"} if system.segmentation else {"distill"})


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
        network = module.network.to_dict()
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
