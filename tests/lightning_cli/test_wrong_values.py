"""Values that an option cannot have: one sentence, status 2, no traceback."""

import pytest

from padseg.cli import main
from padseg.lightning_cli.recipes import config_path

from .conftest import QUIET, data_args, fit_args

SHORT = ["--trainer.max_steps=1", "--trainer.logger=false"]


def told(arguments, capsys) -> str:
    """What a command says that is refused."""
    assert main([str(argument) for argument in arguments]) == 2
    (sentence,) = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("padseg: error: ")
    ]
    assert len(sentence) < 700
    return sentence.removeprefix("padseg: error: ")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("model.system=", "system is ''; give one of"),
        ("model.teacher=", "backbone '' cannot be built"),
        ("model.weights=null", "--model.weights is null; give a value"),
        ("model.weights={folder}", "weight file {folder} is a folder; give the path"),
        ("model.weights={text}", "weight file {text} cannot be read"),
        ("model.width=null", "--model.width is null"),
        ("model.width=-1", "width is -1; give 16 or more"),
        ("model.width=1e18", "--width: expected int, not 1e+18"),
        ("model.kernels=null", "--model.kernels is null"),
        ("model.image_size=null", "--model.image_size is null"),
        ("model.image_size=0", "image_size is 0"),
        ("model.image_size=10000000000", "it must be one or two numbers from 32 to 16384"),
        ("model.top_k=0", "--model.top_k is 0"),
        ("model.momentum=-1", "--model.momentum is -1.0; it must be from 0 to below 1"),
        ("model.weight_decay=nan", "--weight_decay: expected float, not nan"),
        ("model.lr=nan", "--lr: expected float, not nan"),
        ("data.batch_size=10000000000", "--data.batch_size is 10000000000; it must be from 1 to"),
        ("data.batch_size=null", "--data.batch_size: expected int, not None"),
        ("data.num_workers=-1", "--data.num_workers is -1; on this machine it must be from 0 to"),
        ("data.num_workers=100000", "--data.num_workers is 100000; on this machine it must be"),
        ("trainer.devices=10000", "--trainer.devices is 10000, which on CPUs is a number of"),
        ("data.val_fraction=nan", "--data.val_fraction: expected float, not nan"),
        ("data.root={text}", "data root {text} is a file: name the data set's folder"),
        ("data.category=", "category"),
        ("data.textures={text}", "texture folder {text} is a file: pass the folder"),
        ("data.synthesis.exponents=null", "--data.synthesis.exponents is null; give a value"),
        ("data.synthesis.mixture=null", "--data.synthesis.mixture is null; give a value"),
        ("data.synthesis.threshold=nan", "--threshold: expected float, not nan"),
        ("data.synthesis.exponents=[1,2", "SynthesisParams: --exponents: expected tuple, not [1,2"),
        ("trainer.enable_checkpointing=false", "--trainer.enable_checkpointing is false, but"),
        ("trainer.max_steps=0", "--trainer.max_steps is 0, so padseg fit would do nothing"),
        ("trainer.max_epochs=0", "--trainer.max_epochs is 0, so padseg fit would do nothing"),
        ("ckpt_path=registry", "checkpoint registry does not exist"),
        ("ckpt_path=", "--ckpt_path is ''; pass the path of a checkpoint"),
        ("ckpt_path={folder}", "checkpoint {folder} is a folder: name a file in it"),
        ("config={folder}", "--config: Path is not a file: '{folder}'"),
        ("config={text}", "Unexpected config: hello"),
    ],
)
def test_fit_refuses_what_an_option_cannot_be(option, said, data_root, textures, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    places = {"{folder}": str(tmp_path / "folder"), "{text}": str(tmp_path / "text.txt")}
    for name, path in places.items():
        option, said = option.replace(name, path), said.replace(name, path)
    arguments = fit_args(data_root, textures, *SHORT, f"--{option}")
    assert said in told(arguments, capsys)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("distilled=", "checkpoint . is a folder"),
        ("distilled=null", "--model.distilled is not set"),
        ("segmentation_width=-1", "--model.segmentation_width is -1; it must be at least 1"),
        ("gamma=-1", "--model.gamma is -1"),
    ],
)
def test_phase_two_refuses_them_too(option, said, trained, data_root, textures, capsys):
    arguments = ["fit", "--config", config_path("destseg", "segment"), *QUIET, *SHORT]
    arguments += data_args(data_root, textures)
    arguments += [f"--model.distilled={trained}/distill/last.ckpt", f"--model.{option}"]
    assert said in told(arguments, capsys)


@pytest.mark.parametrize(
    ("command", "name", "zero"),
    [
        ("test", "test", "0"),
        ("test", "test", "0.0"),
        ("validate", "val", "0.0"),
        ("predict", "predict", "0"),
    ],
)
def test_scoring_nothing_is_refused(command, name, zero, trained, data_root, textures, capsys):
    arguments = [command, "--ckpt_path", trained / "segment/last.ckpt", *QUIET]
    arguments += [*data_args(data_root, textures), f"--trainer.limit_{name}_batches={zero}"]
    expected = f"--trainer.limit_{name}_batches is 0, so padseg {command} would do nothing"
    assert expected in told(arguments, capsys)


@pytest.mark.parametrize("command", ["test", "validate", "predict"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("best", "--ckpt_path is 'best'; pass the path of a checkpoint"),
        ("last", "--ckpt_path is 'last'; pass the path of a checkpoint"),
        ("", "--ckpt_path is ''; pass the path of a checkpoint"),
        ("registry", "checkpoint registry does not exist"),
        (".", "checkpoint . is a folder: name a file in it"),
    ],
)
def test_scoring_takes_the_path_of_a_checkpoint(command, value, said, data_root, textures, capsys):
    arguments = [command, *QUIET, *data_args(data_root, textures), f"--ckpt_path={value}"]
    assert said in told(arguments, capsys)
    if value not in ("best", "last"):  # beside a configuration, which names a folder
        arguments += ["--config", config_path("destseg", "segment")]
        assert said in told(arguments, capsys)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 5.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
    ids=["python", "torch"],
)
def test_memory_that_does_not_suffice_is_told(
    error, data_root, textures, tmp_path, capsys, monkeypatch
):
    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr("padseg.modules.distill.StudentDistillModule.build", full)
    arguments = fit_args(data_root, textures, *SHORT)
    assert "there is not enough memory: lower --data.batch_size" in told(arguments, capsys)
