"""What an interrupted command says."""

import pytest

from padseg.cli import main
from padseg.lightning_cli.recipes import config_path
from padseg.modules import StudentDistillModule

from .conftest import QUIET, SMALL, data_args


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
