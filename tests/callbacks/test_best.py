"""The best step of a training."""

import pytest
import torch

from padseg.callbacks import BestCheckpoint


@pytest.mark.parametrize(("moved", "copied"), [(False, False), (True, False), (True, True)])
def test_the_best_step_is_remembered_in_another_folder(tmp_path, moved, copied):
    first = BestCheckpoint(dirpath=tmp_path / "version_0", monitor="level")
    path = tmp_path / "version_0/best.ckpt"
    first.best_model_path = first.kth_best_model_path = str(path)
    first.best_model_score = first.kth_value = torch.tensor(0.1)
    first.best_k_models = {str(path): torch.tensor(0.1)}
    second = BestCheckpoint(dirpath=tmp_path / "version_1", monitor="level")
    now = tmp_path / ("version_1" if moved else "version_0") / "best.ckpt"
    for there in (now, path) if copied else (now,):
        there.parent.mkdir()
        there.touch()
    second.load_state_dict(first.state_dict())
    assert second.best_model_score == pytest.approx(0.1)
    assert second.best_model_path == second.kth_best_model_path == str(now)
    assert second.best_k_models == {str(now): torch.tensor(0.1)}
