"""Phase one of a student that is a memory: no gradients, but steps, checkpoints and a hand-off as any other."""

import shutil
from pathlib import Path

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    StochasticWeightAveraging,
    WeightAveraging,
)
from torch.utils.data import DataLoader

from padseg.cli import main
from padseg.data import AnomalyDataModule
from padseg.errors import CheckpointError, ConfigError, DataError
from padseg.export.description import describe
from padseg.inference import Predictor, load_module
from padseg.modules import SegmentationModule, read_checkpoint, read_header
from padseg.modules.distill import CANDIDATES_KEY
from tiny import TRANSFORMER, run_worker, tiny_arguments, tiny_data, tiny_segmentation, tiny_student
from tiny import tiny_trainer as trainer

WORKER = Path(__file__).with_name("memory_worker.py")


class Save(Callback):
    """A checkpoint after each step."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


@pytest.fixture(scope="module")
def trained(data_root, tmp_path_factory):
    """A folder with a checkpoint after each of ten steps."""
    folder = tmp_path_factory.mktemp("memory")
    torch.manual_seed(0)
    fitter = trainer(folder, 10, callbacks=[Save(folder)])
    fitter.fit(tiny_student("tedseg"), datamodule=tiny_data(data_root, batch_size=2))
    assert fitter.global_step == 10
    return folder


def test_a_memory_fills_with_features_of_training_images(trained):
    before, after = (read_checkpoint(trained / f"{n}.ckpt")["state_dict"] for n in (1, 10))
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    memories = [
        f"student_teacher.student.memories.{k}.{of}" for k in (0, 1) for of in ("entries", "image")
    ]
    assert changed == set(memories)
    for name in memories[1::2]:
        assert after[name].min() >= 0
        assert after[name].max() < 11  # of twelve images, one is held out


@pytest.mark.parametrize("cut", [1, 9])
def test_a_resumed_training_remembers_the_same(trained, data_root, tmp_path, cut):
    torch.manual_seed(1)
    module, fitter = tiny_student("tedseg"), trainer(tmp_path, 10)
    data, path = tiny_data(data_root, batch_size=2), trained / f"{cut}.ckpt"
    fitter.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
    assert fitter.global_step == 10
    whole = read_checkpoint(trained / "10.ckpt")["state_dict"]
    assert all(torch.equal(value, whole[name]) for name, value in module.state_dict().items())


def test_a_resumed_training_with_two_teachers_remembers_the_same(data_root, tmp_path):
    def fit(resume=None):
        torch.manual_seed(0)  # the second teacher is random
        module, fitter = (
            tiny_student("tedseg", **TRANSFORMER),
            trainer(tmp_path, 5, callbacks=[save]),
        )
        fitter.fit(module, tiny_data(data_root, batch_size=2), ckpt_path=resume, weights_only=True)
        return module.state_dict()

    save = Save(tmp_path)
    whole = fit()
    resumed = fit(tmp_path / "3.ckpt")
    assert CANDIDATES_KEY in read_checkpoint(tmp_path / "3.ckpt")
    assert all(torch.equal(value, whole[name]) for name, value in resumed.items())


def test_candidates_are_kept_until_the_choice_alone(trained):
    kept = [CANDIDATES_KEY in read_checkpoint(trained / f"{n}.ckpt") for n in range(1, 11)]
    assert kept == [True] * 9 + [False]


def test_an_unfinished_memory_scores_nothing(trained, data_root, tmp_path):
    path = trained / "3.ckpt"
    with pytest.raises(CheckpointError, match=r"before its memory was complete: finish"):
        tiny_segmentation(path)
    with pytest.raises(CheckpointError, match=r"before its memory was complete: finish"):
        Predictor(path)
    with pytest.raises(CheckpointError, match=r"before its memory was complete: finish"):
        trainer(tmp_path, 1).test(
            tiny_student("tedseg"), datamodule=tiny_data(data_root), ckpt_path=path
        )


def test_a_memory_of_images_that_were_enlarged_differently_is_told(trained, data_root, tmp_path):
    checkpoint = read_checkpoint(trained / "10.ckpt")
    checkpoint["state_dict"]["student_teacher.zooms"] += 0.5
    torch.save(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(
        CheckpointError, match=r"other\.ckpt is .* has changed since.* train it again"
    ):
        Predictor(tmp_path / "other.ckpt")
    with pytest.raises(
        CheckpointError, match=r"the checkpoint is .* has changed since.* train it again"
    ):
        trainer(tmp_path, 1).test(
            tiny_student("tedseg"),
            datamodule=tiny_data(data_root),
            ckpt_path=tmp_path / "other.ckpt",
        )


def test_a_training_that_ends_early_chooses_from_what_it_has_and_can_go_on(
    trained, data_root, tmp_path
):
    class Stop(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            trainer.should_stop = batch_idx == 2

    torch.manual_seed(0)  # the teacher of `trained`
    module, path = tiny_student("tedseg"), tmp_path / "early.ckpt"
    fitter = trainer(tmp_path, 10, callbacks=[Stop()])
    fitter.fit(module, datamodule=tiny_data(data_root, batch_size=2))
    assert fitter.global_step == 3
    assert all((memory.image >= 0).all() for memory in module.student_teacher.student.memories)
    fitter.save_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"finish its training first"):
        tiny_segmentation(path)
    image = torch.rand(1, 3, 64, 64)
    scores = [one.eval()(image)["image_score"] for one in (module, load_module(path))]
    assert torch.equal(*scores)
    scoring = tiny_student("tedseg")
    scoring.student_teacher.student.candidates = module.student_teacher.student.candidates
    scoring.on_load_checkpoint(read_checkpoint(path))
    assert not scoring.student_teacher.student.candidates  # these are for resuming alone
    resumed = tiny_student("tedseg")
    trainer(tmp_path, 10).fit(
        resumed, datamodule=tiny_data(data_root, batch_size=2), ckpt_path=path, weights_only=True
    )
    whole = read_checkpoint(trained / "10.ckpt")["state_dict"]
    assert all(torch.equal(value, whole[name]) for name, value in resumed.state_dict().items())


def test_a_memory_of_one_step_is_handed_over(data_root, tmp_path):
    fitter = trainer(tmp_path, 1)
    fitter.fit(tiny_student("tedseg"), datamodule=tiny_data(data_root))
    fitter.save_checkpoint(tmp_path / "last.ckpt")
    assert CANDIDATES_KEY not in read_checkpoint(tmp_path / "last.ckpt")
    tiny_segmentation(tmp_path / "last.ckpt")


def test_a_complete_memory_takes_no_more_steps(trained, data_root, tmp_path):
    """Its candidates are gone, so that it would forget all but the images of the further steps."""
    with pytest.raises(
        CheckpointError, match=r"complete after 10 steps, and cannot go on: train ag"
    ):
        trainer(tmp_path, 12).fit(
            tiny_student("tedseg"),
            datamodule=tiny_data(data_root, batch_size=2),
            ckpt_path=trained / "10.ckpt",
            weights_only=True,
        )


@pytest.mark.parametrize(
    "option", ["trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=1"]
)
def test_options_of_gradients_are_refused(option, data_root, capsys):
    arguments = ["fit", "--config=configs/tedseg/distill.yaml", "--data.category=widget"]
    small = [*tiny_arguments(system="tedseg"), "--model.weights=random", f"--data.root={data_root}"]
    assert main([*arguments, *small, f"--{option}"]) == 2
    assert "are about gradients, which this phase does not have" in capsys.readouterr().err


def test_the_number_of_steps_is_required(data_root, tmp_path):
    with pytest.raises(ConfigError, match=r"max_steps is -1; TEDSeg must know its last step"):
        trainer(tmp_path, -1).fit(tiny_student("tedseg"), datamodule=tiny_data(data_root))


def test_a_memory_is_not_cut_short(data_root, tmp_path):
    with pytest.raises(
        ConfigError, match=r"--trainer\.max_time: TEDSeg's memory is complete after"
    ):
        trainer(tmp_path, 4, max_time="00:01:00:00").fit(
            tiny_student("tedseg"), datamodule=tiny_data(data_root)
        )


@pytest.mark.parametrize(
    "averaging",
    [WeightAveraging(), EMAWeightAveraging(), StochasticWeightAveraging(swa_lrs=0.1)],
    ids=lambda averaging: type(averaging).__name__,
)
def test_a_memory_is_not_averaged(averaging, data_root, tmp_path):
    told = rf"^{type(averaging).__name__}: TEDSeg's first phase has no weights to average; use EMA"
    with pytest.raises(ConfigError, match=told):
        trainer(tmp_path, 4, callbacks=[averaging]).fit(
            tiny_student("tedseg"), datamodule=tiny_data(data_root)
        )


def test_a_schedule_must_end(trained, data_root, textures, tmp_path):
    with pytest.raises(ConfigError, match=r"max_steps is -1; the schedule of TEDSeg must know"):
        trainer(tmp_path, -1).fit(
            tiny_segmentation(trained / "10.ckpt"), datamodule=tiny_data(data_root, textures)
        )


@pytest.mark.slow
def test_two_teachers_have_a_segmentation_each(data_root, textures, tmp_path):
    torch.manual_seed(0)
    first = tiny_student("tedseg", **TRANSFORMER)
    fitter = trainer(tmp_path, 2)
    fitter.fit(first, datamodule=tiny_data(data_root))
    fitter.save_checkpoint(tmp_path / "distill.ckpt")
    other = read_checkpoint(tmp_path / "distill.ckpt")
    name = next(key for key in other["state_dict"] if ".teacher2." in key)
    other["state_dict"][name] = other["state_dict"][name] + 1
    torch.save(other, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"is not the one that its student was trained with"):
        tiny_segmentation(tmp_path / "other.ckpt")
    module = tiny_segmentation(tmp_path / "distill.ckpt")
    before = {name: value.clone() for name, value in module.named_parameters()}
    fitter = trainer(tmp_path, 2, limit_val_batches=0)
    fitter.fit(module, datamodule=tiny_data(data_root, textures))
    changed = {n for n, value in module.named_parameters() if not torch.equal(value, before[n])}
    assert {name.split(".")[0] for name in changed} == {"segmentation", "segmentation2"}
    fitter.save_checkpoint(tmp_path / "last.ckpt")
    again, image = load_module(tmp_path / "last.ckpt"), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        pairs = again.compare(image)
        each = [again.segmentation(pairs[0]), again.segmentation2(pairs[1])]
        torch.testing.assert_close(again.logits(pairs), torch.maximum(*each))
        assert again.train().logits(pairs).shape == (2, 4, 16, 16)
    assert not torch.equal(*each)
    assert describe(read_header(tmp_path / "last.ckpt"), None, "float32").teacher == [
        "test_resnet",
        "test_vit3",
    ]


def test_phase_two_leaves_the_own_image_out(trained, data_root, textures, tmp_path, monkeypatch):
    module = tiny_segmentation(trained / "10.ckpt")
    network, seen = module.student_teacher, []
    student = network.student.forward

    def record(keys, own=None):
        seen.append(own)
        return student(keys, own)

    monkeypatch.setattr(network.student, "forward", record)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    data = tiny_data(data_root, textures)
    fitter = trainer(tmp_path, 2, limit_val_batches=0)
    fitter.fit(module, datamodule=data)
    groups = fitter.optimizers[0].param_groups
    assert {(g["initial_lr"], g["weight_decay"]) for g in groups} == {(2e-3, 0.01), (2e-3, 0.0)}
    assert {(g["betas"], g["eps"]) for g in groups} == {((0.9, 0.999), 1e-8)}
    # The stream goes on after the samples of phase one.
    expected = data.pairs(20, 8)["index"].split(4)
    steps, calibration = seen[: len(expected)], seen[len(expected) :]
    assert all(torch.equal(*pair) for pair in zip(steps, expected, strict=True))
    assert calibration, "held-out images were not scored"
    assert all(own is None for own in calibration)  # the memory has not seen them
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    seen.clear()
    module(torch.rand(1, 3, 64, 64))
    assert seen == [None]


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_phase_two_needs_the_numbers_of_the_images(trained, tmp_path):
    batch = {name: torch.zeros(1, 3, 64, 64) for name in ("corrupted", "mask")}
    with pytest.raises(ConfigError, match=r"batches of the data have no 'index': give dicts"):
        trainer(tmp_path, 1).fit(
            tiny_segmentation(trained / "10.ckpt"), DataLoader([batch], batch_size=None)
        )


def test_phase_two_needs_the_images_of_phase_one(trained, data_root, textures, tmp_path):
    """Their numbers would be those of others."""
    data = tiny_data(data_root, textures, val_fraction=0)
    with pytest.raises(ConfigError, match=r"val_fraction 0\.1, not 0"):
        trainer(tmp_path, 1).fit(tiny_segmentation(trained / "10.ckpt"), datamodule=data)


def test_phase_two_tells_that_images_are_others(trained, data_root, textures, tmp_path):
    shutil.copytree(data_root, tmp_path / "data")
    data = tiny_data(tmp_path / "data", textures)
    data.setup("fit")
    shutil.rmtree(data.root / "widget/test")  # which no memory has seen
    trainer(tmp_path, 1).fit(tiny_segmentation(trained / "10.ckpt"), datamodule=data)
    good = sorted((data.root / "widget/train/good").iterdir())
    trained_on = [path for path in good if str(path) not in data._held_out.paths]
    shutil.copy(trained_on[3], trained_on[3].with_name("0.png"))
    trained_on[3].unlink()
    with pytest.raises(
        CheckpointError, match=r"distilled was trained on other .* \(11 with other names\): restore"
    ):
        trainer(tmp_path, 1).fit(
            tiny_segmentation(trained / "10.ckpt"), datamodule=tiny_data(data.root, textures)
        )
    trained_on[2].unlink()
    with pytest.raises(CheckpointError, match=r"other images of widget \(11, now 10\): restore"):
        trainer(tmp_path, 11).fit(
            tiny_student("tedseg"),
            datamodule=tiny_data(data.root, batch_size=2),
            ckpt_path=trained / "9.ckpt",
        )


@pytest.mark.slow
@pytest.mark.parametrize("load", ["load_from_checkpoint", "from_pretrained"])
def test_a_memory_that_was_loaded_needs_its_images(trained, data_root, textures, tmp_path, load):
    shutil.copytree(data_root / "widget", tmp_path / "cap")
    fitter = trainer(tmp_path, 1)
    fitter.fit(tiny_segmentation(trained / "10.ckpt"), datamodule=tiny_data(data_root, textures))
    fitter.save_checkpoint(tmp_path / "segment.ckpt")
    module = getattr(SegmentationModule, load)(tmp_path / "segment.ckpt")
    options = {"image_size": 64, "num_workers": 0}
    for data, told in (
        (tiny_data(data_root, textures, val_fraction=0), r"val_fraction 0\.1, not 0: TEDSeg rem"),
        (AnomalyDataModule(tmp_path, "cap", textures, **options), "category widget, not cap: give"),
    ):
        with pytest.raises(ConfigError, match=f"the module was trained with --data.{told}"):
            trainer(tmp_path, 1).fit(module, datamodule=data)
    trainer(tmp_path, 1).fit(module, datamodule=tiny_data(data_root, textures))


def test_another_training_of_a_module_forgets_the_first_one(trained, data_root, tmp_path):
    torch.manual_seed(0)  # the teacher of `trained`
    module = tiny_student("tedseg")
    trainer(tmp_path, 4).fit(
        module, datamodule=tiny_data(data_root, batch_size=2, val_fraction=0.5)
    )
    trainer(tmp_path, 10).fit(module, datamodule=tiny_data(data_root, batch_size=2))
    expected = read_checkpoint(trained / "10.ckpt")["state_dict"]
    for name, value in module.state_dict().items():
        if ".student." in name:
            assert torch.equal(value, expected[name]), name


def test_a_single_image_is_no_memory(data_root, tmp_path):
    shutil.copytree(data_root, tmp_path / "data")
    for path in sorted((tmp_path / "data/widget/train/good").iterdir())[1:]:
        path.unlink()
    data = tiny_data(tmp_path / "data", batch_size=2, val_fraction=0)
    with pytest.raises(DataError, match="there is 1 normal image to train on; TEDSeg"):
        trainer(tmp_path, 4).fit(tiny_student("tedseg"), datamodule=data)


@pytest.mark.parametrize(
    "options", [{"context": "rcm"}, {"fusion": "aff"}, {"second_conv": "pcar"}]
)
def test_the_head_has_no_parts_of_the_others(trained, options):
    with pytest.raises(ConfigError, match="parts that TEDSeg does not have"):
        tiny_segmentation(trained / "10.ckpt", **options)


@pytest.mark.slow
def test_two_processes_remember_like_one(data_root, tmp_path):
    for devices in (1, 2):
        done = run_worker(WORKER, tmp_path, data_root, devices)
        assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / f"{devices}.pt") for devices in (1, 2))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value)
