import copy
import shutil

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    GradientAccumulationScheduler,
    LearningRateFinder,
    StochasticWeightAveraging,
)
from lightning.pytorch.tuner import Tuner
from torch.utils.data import DataLoader

from padseg.callbacks import EvaluationCallback
from padseg.data import AnomalyDataModule
from padseg.errors import CheckpointError, ConfigError, PadsegError
from padseg.inference import Predictor
from padseg.models import SYSTEMS
from padseg.modules import SegmentationModule, StudentDistillModule, read_checkpoint, read_header
from padseg.modules.checkpoint import write_checkpoint
from padseg.modules.header import HEADER_KEY
from padseg.synthesis import SynthesisParams
from tiny import SECOND_TEACHER, Seen, tiny_data, tiny_segmentation, tiny_student
from tiny import tiny_trainer as trainer


@pytest.fixture
def data(data_root, textures) -> AnomalyDataModule:
    return tiny_data(data_root, textures)


@pytest.fixture(scope="module")
def distilled(data_root, textures, tmp_path_factory):
    """A checkpoint of a short phase one."""
    folder = tmp_path_factory.mktemp("distilled")
    torch.manual_seed(0)
    data = tiny_data(data_root, textures)
    fitter = trainer(folder, 3)
    fitter.fit(tiny_student(lr=0.05), datamodule=data)
    fitter.save_checkpoint(folder / "distill.ckpt")
    return folder / "distill.ckpt"


def segmentation(distilled, **options) -> SegmentationModule:
    return tiny_segmentation(distilled, **options)


def test_phase_one_trains_the_student_and_nothing_else(data, tmp_path):
    module = tiny_student(lr=0.05)
    before = copy.deepcopy(module.state_dict())
    trainer(tmp_path, 3).fit(module, datamodule=data)
    for name, value in module.state_dict().items():
        same = torch.equal(value, before[name])
        if "teacher" in name.removeprefix("student_teacher"):
            assert same, name
        elif name.endswith("conv1.weight"):
            assert not same, name


def test_phase_two_freezes_teacher_and_student(data, distilled, tmp_path):
    module = segmentation(distilled)
    stored = read_checkpoint(distilled)["state_dict"]
    head = copy.deepcopy(module.segmentation.state_dict())
    trainer(tmp_path, 3).fit(module, datamodule=data)
    for name, value in module.student_teacher.state_dict().items():
        assert torch.equal(value.cpu(), stored[f"student_teacher.{name}"]), name
    changed = [
        not torch.equal(value, head[name])
        for name, value in module.segmentation.state_dict().items()
        if value.is_floating_point()
    ]
    assert sum(changed) > len(changed) / 2


def test_phase_two_goes_on_in_the_stream(data, distilled, tmp_path):
    """Three steps of four images are behind it, as in one training of both phases."""
    stream = data.pairs(12, 16)["clean"].split(4)
    whole, resumed = Seen(), Seen()
    fitter = trainer(tmp_path, 4, callbacks=[whole])
    fitter.fit(segmentation(distilled), datamodule=data)
    fitter = trainer(tmp_path, 2)
    fitter.fit(segmentation(distilled), datamodule=data)
    fitter.save_checkpoint(tmp_path / "half.ckpt")
    fitter = trainer(tmp_path, 4, callbacks=[resumed])
    fitter.fit(segmentation(distilled), datamodule=data, ckpt_path=tmp_path / "half.ckpt")
    assert len(whole.batches) == 4
    assert all(torch.equal(*pair) for pair in zip(whole.batches, stream, strict=True))
    assert all(torch.equal(*pair) for pair in zip(resumed.batches, stream[2:], strict=True))
    first = Seen()
    module = tiny_student(lr=0.05)
    trainer(tmp_path, 1, callbacks=[first]).fit(module, datamodule=data)
    assert torch.equal(first.batches[0], data.pairs(0, 4)["clean"])


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("category", "cap", r"category cap, not widget: give"),
        ("layout", "btad", r"layout btad, not mvtec: give"),
        ("val_fraction", 0, r"val_fraction 0, not 0\.1, which would hold out images"),
    ],
)
def test_phase_two_wants_the_images_of_phase_one(data, distilled, tmp_path, name, value, told):
    module = segmentation(distilled)
    options = {**module.previous_data["options"], name: value}
    module.previous_data = {**module.previous_data, "options": options}
    with pytest.raises(ConfigError, match=rf"--model\.distilled was trained with --data\.{told}"):
        trainer(tmp_path, 1).fit(module, datamodule=data)


def test_a_stream_that_is_cut_short_is_refused(data, tmp_path):
    module = tiny_student()
    for limit in ({"limit_train_batches": 2}, {"limit_train_batches": 1}, {"overfit_batches": 1}):
        with pytest.raises(
            ConfigError, match=r"--trainer\.limit_train_batches and overfit_batches"
        ):
            trainer(tmp_path, 4, **limit).fit(module, datamodule=data)
    by_epoch = GradientAccumulationScheduler({0: 4})
    with pytest.raises(ConfigError, match=r"use --trainer\.accumulate_grad_batches"):
        trainer(tmp_path, 4, callbacks=[by_epoch]).fit(module, datamodule=data)


def test_averages_of_epochs_are_refused(data, tmp_path):
    averaging = [StochasticWeightAveraging(swa_lrs=0.1)]
    for given in ({"datamodule": data}, {"train_dataloaders": [{}], "val_dataloaders": [{}]}):
        with pytest.raises(ConfigError, match="use EMAWeightAveraging or WeightAveraging"):
            trainer(tmp_path, 1, callbacks=averaging).fit(tiny_student(), **given)


def test_loggers_show_the_rate_of_the_system():
    assert tiny_student().hparams_initial["lr"] == 0.4
    assert tiny_student(lr=0.05).hparams_initial["lr"] == 0.05


def test_segment_checkpoint_is_complete(data, distilled, tmp_path, monkeypatch):
    module = segmentation(distilled)
    fitter = trainer(tmp_path, 2)
    fitter.fit(module, datamodule=data)
    path = tmp_path / "segment.ckpt"
    fitter.save_checkpoint(path, weights_only=True)
    image = torch.rand(2, 3, 64, 64)
    expected = module.eval()(image)

    def no_network(*args, **kwargs):
        raise AssertionError("a checkpoint must need no other weights")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", no_network)
    monkeypatch.setattr("timm.models._hub.load_state_dict_from_hf", no_network)
    monkeypatch.setattr("padseg.modules.segment.read_distilled", no_network)
    loaded = SegmentationModule.load_from_checkpoint(path, map_location="cpu").eval()
    for name, value in loaded(image).items():
        assert torch.equal(value, expected[name])
    assert loaded.image_size == (64, 64)
    assert read_checkpoint(path)[HEADER_KEY]["format"] == 1


def test_scores_have_the_promised_form(distilled):
    for module in (segmentation(distilled), tiny_student()):
        scores = module.eval()(torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8))
        assert scores["score_map"].shape == (2, 1, 64, 96)
        assert scores["score_map"].dtype == torch.float32
        assert scores["score_map"].min() >= 0
        assert scores["score_map"].max() <= 1
        top = scores["score_map"].flatten(1).topk(100).values.mean(1)
        torch.testing.assert_close(scores["image_score"], top)


@pytest.mark.filterwarnings("error")  # nothing that a notebook would show
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_trains_and_tests(system, data_root, textures, tmp_path):
    module = tiny_student(system, **({} if SYSTEMS[system].memory else {"lr": 0.01}))
    data = tiny_data(data_root, textures)
    fitter = trainer(tmp_path, 2, callbacks=[EvaluationCallback()])
    fitter.fit(module, datamodule=data)
    (figures,) = fitter.test(module, datamodule=data, verbose=False)
    assert {"image_auroc", "pixel_ap", "pro", "iap90"} <= set(figures)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_losses_stay_finite(precision, data, distilled, tmp_path):
    fitter = trainer(tmp_path, 2, precision=precision)
    module = segmentation(distilled)
    fitter.fit(module, datamodule=data)
    assert torch.isfinite(fitter.callback_metrics["train_loss"])


def test_same_seed_same_weights(data_root, textures, tmp_path):
    states = []
    for _ in range(2):
        torch.manual_seed(1)
        data = tiny_data(data_root, textures)
        module = tiny_student(lr=0.05)
        trainer(tmp_path, 3).fit(module, datamodule=data)
        states.append(module.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_resumed_training_ends_with_the_same_weights(data_root, textures, tmp_path):
    def fit(steps, resume=None):
        torch.manual_seed(1)
        data = tiny_data(data_root, textures)
        module = tiny_student(lr=0.05)
        fitter = trainer(tmp_path, steps)
        fitter.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        return fitter, module.state_dict()

    whole = fit(5)[1]
    fitter, _ = fit(3)
    fitter.save_checkpoint(tmp_path / "cut.ckpt")
    fitter, resumed = fit(5, tmp_path / "cut.ckpt")
    assert fitter.global_step == 5
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_foreign_checkpoints_are_refused(distilled, tmp_path, data):
    with pytest.raises(ConfigError, match=r"--model\.distilled"):
        SegmentationModule()
    with pytest.raises(CheckpointError, match="does not exist"):
        segmentation(tmp_path / "none.ckpt")
    with pytest.raises(CheckpointError, match="distilled for destseg, not for pfadseg"):
        segmentation(distilled, system="pfadseg")
    with pytest.raises(CheckpointError, match="of class StudentDistillModule"):
        trainer(tmp_path, 1).test(segmentation(distilled), datamodule=data, ckpt_path=distilled)
    fitter = trainer(tmp_path, 1)
    fitter.fit(segmentation(distilled), datamodule=data)
    fitter.save_checkpoint(tmp_path / "segment.ckpt")
    with pytest.raises(CheckpointError, match="takes one of phase one"):
        segmentation(tmp_path / "segment.ckpt")


def test_another_teacher_is_refused(distilled, tmp_path):
    checkpoint = torch.load(distilled, weights_only=True)
    name = next(key for key in checkpoint["state_dict"] if ".teacher." in key)
    checkpoint["state_dict"][name] = checkpoint["state_dict"][name] + 1
    torch.save(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="is not the one that its student was trained with"):
        segmentation(tmp_path / "other.ckpt")


def test_a_checkpoint_that_is_loaded_in_a_wrong_way_says_so(distilled):
    load = StudentDistillModule.load_from_checkpoint
    assert load(distilled, weights="random").complete
    with pytest.raises(CheckpointError, match="loaded with other options than it was trained with"):
        load(distilled, width=32)
    with pytest.raises(ConfigError, match="To use that checkpoint alone, use StudentDistillModule"):
        SegmentationModule.load_from_checkpoint(distilled)


def test_checkpoints_hold_plain_values_only(distilled):
    def plain(value):
        if isinstance(value, dict):
            return all(isinstance(k, (str, int)) and plain(v) for k, v in value.items())
        if isinstance(value, (list, tuple)):
            return all(plain(v) for v in value)
        return value is None or type(value) in (bool, int, float, str, torch.Tensor)

    checkpoint = torch.load(distilled, weights_only=True)
    assert plain(checkpoint["hyper_parameters"])
    assert plain(checkpoint[HEADER_KEY])


def test_another_image_size_of_the_data_is_told(data, tmp_path):
    module = tiny_student("stpm", image_size=32)
    with pytest.raises(ConfigError, match=r"\[64, 64\], the module's \[32, 32\]"):
        trainer(tmp_path, 1).fit(module, datamodule=data)


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_other_precisions_are_refused(precision, data, tmp_path):
    module = tiny_student("stpm")
    with pytest.raises(
        ConfigError, match=rf"precision is '{precision}'; give one of 32-true, bf16"
    ):
        trainer(tmp_path, 1, precision=precision).fit(module, datamodule=data)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_can_be_clipped(precision, data, tmp_path):
    module = tiny_student(lr=1.0)
    before = copy.deepcopy(module.state_dict())
    options = {"precision": precision, "gradient_clip_val": 1e-6}
    trainer(tmp_path, 1, **options).fit(module, datamodule=data)
    student = [name for name, _ in module.student_teacher.student.named_parameters()]
    moved = [
        (module.state_dict()[name] - before[name] * (1 - 1e-4)).norm()
        for name in (f"student_teacher.student.{name}" for name in student)
    ]
    assert 0 < torch.stack(moved).norm() < 1e-4


def test_a_module_that_predicted_trains_again(data, tmp_path):
    module = tiny_student(lr=0.05).eval()
    Predictor(module, device="cpu")(torch.zeros(64, 64, 3, dtype=torch.uint8))
    trainer(tmp_path, 2).fit(module, datamodule=data)
    counts = [
        int(value)
        for name, value in module.student_teacher.student.state_dict().items()
        if name.endswith("num_batches_tracked")
    ]
    assert set(counts) == {2}


def test_data_of_a_resumed_training_serve_another_one(data, tmp_path):
    class Seen(Callback):
        def __init__(self):
            self.clean = []

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            self.clean.append(batch["clean"])

    def fit(steps, module, resume=None):
        seen = Seen()
        fitter = trainer(tmp_path, steps, callbacks=[seen])
        fitter.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        fitter.save_checkpoint(tmp_path / "last.ckpt")
        return torch.cat(seen.clean)

    fit(2, tiny_student("stpm"))
    resumed = fit(4, tiny_student("stpm"), tmp_path / "last.ckpt")
    assert torch.equal(resumed, data.pairs(8, 8)["clean"])
    # Fewer steps than the first training had: nothing of its place in the stream may be left.
    fresh = fit(1, tiny_student("stpm"))
    assert torch.equal(fresh, data.pairs(0, 4)["clean"])


def test_a_trainer_that_trains_on_goes_on_in_the_stream(data, distilled, tmp_path):
    for module, first in ((tiny_student("stpm"), 0), (segmentation(distilled), 12)):
        seen = Seen()
        fitter = trainer(tmp_path, 2, callbacks=[seen])
        fitter.fit(module, datamodule=data)
        fitter.fit_loop.epoch_loop.max_steps = 4
        fitter.fit(module, datamodule=data)
        assert torch.equal(torch.cat(seen.batches), data.pairs(first, 16)["clean"])
        assert data.state_dict()["next_sample"] == first + 16


def test_weights_that_only_a_checkpoint_brings_must_come(data, distilled, tmp_path):
    network = read_checkpoint(distilled)[HEADER_KEY]["network"]
    for module in (
        tiny_student(weights="stored"),
        SegmentationModule(network=network, image_size=64),
    ):
        for start in ("fit", "test", "predict"):
            with pytest.raises(ConfigError, match="none was loaded: pass the --ckpt_path"):
                getattr(trainer(tmp_path, 1), start)(module, datamodule=data)
    module = tiny_student(weights="stored", lr=0.05)
    trainer(tmp_path, 4).fit(module, datamodule=data, ckpt_path=distilled, weights_only=True)
    assert (
        module.student_teacher.fingerprint()
        == read_checkpoint(distilled)[HEADER_KEY]["teacher_sha256"]
    )


def test_a_sanity_check_needs_no_whole_validation(data, tmp_path):
    module = tiny_student(lr=0.05)
    data.batch_size, data.val_fraction = 2, 0.5  # six images are held out
    fitter = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        max_epochs=-1,
        max_steps=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[EvaluationCallback()],
        num_sanity_val_steps=2,
        val_check_interval=2,
        check_val_every_n_epoch=None,
    )
    fitter.fit(module, datamodule=data)
    assert "val_pixel_ap" in fitter.callback_metrics


def test_a_training_goes_on_in_its_precision(data, tmp_path):
    def module() -> StudentDistillModule:
        return tiny_student(lr=0.05)

    fitter = trainer(tmp_path, 1, precision="bf16-mixed")
    fitter.fit(module(), datamodule=data)
    fitter.save_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"bf16-mixed, not 32-true: .*precision bf16-mixed"):
        trainer(tmp_path, 2).fit(module(), datamodule=data, ckpt_path=tmp_path / "last.ckpt")


def test_a_frozen_module_is_not_trained(data, distilled, tmp_path):
    for module in (tiny_student("stpm"), tiny_student("tedseg"), segmentation(distilled)):
        module.freeze()
        with pytest.raises(ConfigError, match=r"every parameter is frozen, .* leave out module"):
            trainer(tmp_path, 1).fit(module, datamodule=data)


def test_what_is_never_trained_stays_frozen(distilled):
    for module in (tiny_student("stpm"), segmentation(distilled)):
        trained = {name for name, one in module.named_parameters() if one.requires_grad}
        module.freeze()
        module.unfreeze()
        assert {name for name, one in module.named_parameters() if one.requires_grad} == trained
        assert 0 < len(trained) < len([*module.parameters()])


def test_weights_alone_are_no_start(data, tmp_path):
    fitter = trainer(tmp_path, 1)
    fitter.fit(tiny_student("stpm"), datamodule=data)
    fitter.save_checkpoint(tmp_path / "best.ckpt", weights_only=True)
    with pytest.raises(CheckpointError, match=r"holds weights alone, .* pass the last\.ckpt"):
        trainer(tmp_path, 2).fit(
            tiny_student("stpm"), datamodule=data, ckpt_path=tmp_path / "best.ckpt"
        )


def test_divergence_is_told(data, tmp_path):
    module = tiny_student(lr=1e30)
    with pytest.raises(PadsegError, match=r"training diverged.*--model\.lr"):
        trainer(tmp_path, 6).fit(module, datamodule=data)
    assert module.trained_on["options"]["category"] == "widget", "though it was interrupted"


def test_a_divergence_by_the_last_step_is_told(data, tmp_path):
    module = tiny_student(lr=1e30)
    # The loss of the only step is still finite; the thresholds after it find what has happened.
    fitter = trainer(tmp_path, 1, limit_val_batches=0)
    with pytest.raises(PadsegError, match="training diverged: the scores are not finite"):
        fitter.fit(module, datamodule=data)
    assert fitter.global_step == 1
    assert module.calibration is None
    fitter = trainer(tmp_path, 1, callbacks=[EvaluationCallback()])
    for start in (fitter.validate, fitter.test, fitter.predict):
        with pytest.raises(PadsegError, match="training diverged: the scores are not finite"):
            start(module, datamodule=data)


@pytest.mark.parametrize(
    ("system", "choice"), [("destseg", "corrupted"), ("stpm", None), ("tedseg", None)]
)
def test_what_the_student_sees_is_recorded_where_it_may_be_chosen(system, choice):
    module = tiny_student(system, image_size=32)
    assert module.hparams.get("student_input") == choice
    assert module.student_input == (choice or "clean")
    # As earlier checkpoints have it.
    assert tiny_student(system, student_input="corrupted").student_input == module.student_input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top_k": 0}, "--model.top_k is 0"),
        ({"student_input": "noisy"}, "student_input is 'noisy'"),
        ({"image_size": 16}, "image_size is 16"),
        ({"image_size": (64, 64, 64)}, "image_size is"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        tiny_student(**options)


def test_rates_and_exponents_that_mean_nothing_are_refused(data, distilled, tmp_path):
    with pytest.raises(ConfigError, match="a learning rate is -1"):
        trainer(tmp_path, 1).fit(tiny_student("stpm", lr=-1.0), datamodule=data)
    for name, value in (("momentum", 1.0), ("momentum", -1.0), ("weight_decay", -0.1)):
        with pytest.raises(ConfigError, match=rf"--model\.{name} is {value}; it must"):
            trainer(tmp_path, 1).fit(tiny_student("stpm", **{name: value}), datamodule=data)
    with pytest.raises(ConfigError, match=r"--model\.gamma is 0\.5"):
        segmentation(distilled, gamma=0.5)


def test_one_small_image_is_no_batch(data_root, textures, tmp_path):
    data = tiny_data(data_root, textures, image_size=32, batch_size=1)
    for system in ("destseg", "rstpm"):
        module = tiny_student(system, image_size=32)
        with pytest.raises(ConfigError, match="batch_size is 1"):
            trainer(tmp_path, 1).fit(module, datamodule=data)


def test_pairs_are_required(data_root, tmp_path):
    data = tiny_data(data_root)
    with pytest.raises(ConfigError, match=r"--data\.synthesis"):
        trainer(tmp_path, 1).fit(tiny_student(), datamodule=data)


@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_float16_gets_no_fused_optimiser(precision, tmp_path):
    module = tiny_student()
    module._trainer = trainer(tmp_path, 1, precision="32-true")
    module._trainer._accelerator_connector.precision_plugin.precision = precision
    assert module.configure_optimizers().defaults["fused"] == (precision == "32-true")


def test_synchronised_norms_leave_the_teacher_alone(tmp_path):
    """timm's norms hold an activation, which PyTorch's conversion takes out."""
    image = torch.rand(2, 3, 64, 64)
    module = tiny_student("stpm", teacher="test_efficientnet")
    expected = module.student_teacher.teacher(image)
    fitter = trainer(tmp_path, 1, strategy="ddp", devices=1, sync_batchnorm=True)
    module._trainer = fitter
    module.setup("fit")
    fitter.strategy._layer_sync.apply(module)
    converted = {
        name.split(".")[1]
        for name, part in module.named_modules()
        if isinstance(part, torch.nn.SyncBatchNorm)
    }
    assert converted == {"student"}
    # As after a training, and before the next.
    fitter.strategy._layer_sync.revert(module)
    fitter.strategy._layer_sync.apply(module)
    kinds = {type(part) for part in module.student_teacher.student.modules()}
    assert torch.nn.SyncBatchNorm in kinds
    assert not [
        kind for kind in kinds if "BatchNorm" in kind.__name__ and "Sync" not in kind.__name__
    ]
    assert all(map(torch.equal, module.student_teacher.teacher(image), expected))


def test_loaders_without_their_data_module_are_told(data, distilled, tmp_path):
    data.setup()
    fitter = trainer(tmp_path, 1)
    for module in (tiny_student(), tiny_student("tedseg"), segmentation(distilled)):
        with pytest.raises(ConfigError, match=r"pass datamodule=data to the Trainer"):
            fitter.fit(module, data.train_dataloader(), data.val_dataloader())
    for score in (fitter.test, fitter.predict):
        with pytest.raises(ConfigError, match=r"pass datamodule=data to the Trainer"):
            score(module, dataloaders=data.test_dataloader())
    # Others may give batches that need no finishing.
    finished = [data.on_after_batch_transfer(batch, 0) for batch in data.test_dataloader()]
    loader = DataLoader(finished, batch_size=None)
    (scores, *_) = fitter.predict(module, dataloaders=loader)
    assert scores["image_score"].isfinite().all()


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_a_trainer_forgets_the_data_of_an_earlier_task(data, tmp_path):
    fitter = trainer(tmp_path, 1)
    fitter.fit(tiny_student(), datamodule=data)
    other = tiny_student(image_size=96)
    pairs = {name: torch.zeros(2, 3, 96, 96) for name in ("clean", "corrupted")}
    fitter.fit_loop.epoch_loop.max_steps = 2
    fitter.fit(other, DataLoader([pairs], batch_size=None))
    assert fitter.global_step == 2
    fitter.save_checkpoint(tmp_path / "other.ckpt")
    header = read_header(tmp_path / "other.ckpt")
    assert (header.calibration, header.data_options) == (None, {})


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_what_the_batches_of_other_loaders_lack_is_told(distilled, tmp_path):
    whole = {name: torch.zeros(1, 3, 64, 64) for name in ("clean", "corrupted")}
    for module, batch, missing in (
        (tiny_student("stpm"), {"image": whole["clean"]}, "clean"),
        (tiny_student("tedseg"), {"image": whole["clean"]}, "clean"),
        (tiny_student("tedseg"), whole, "index"),
        (segmentation(distilled), whole, "mask"),
    ):
        with pytest.raises(ConfigError, match=rf"batches of the data have no '{missing}': give"):
            trainer(tmp_path, 1).fit(module, DataLoader([batch], batch_size=None))
    for batch in ((whole["clean"],), whole["clean"]):
        with pytest.raises(
            ConfigError, match=r"batches of the data are of type (list|Tensor): give"
        ):
            trainer(tmp_path, 1).fit(module, DataLoader([batch], batch_size=None))
    with pytest.raises(ConfigError, match=r"batches of the data have no 'image': give dicts"):
        trainer(tmp_path, 1).predict(module.eval(), DataLoader([whole], batch_size=None))


@pytest.mark.slow
def test_a_finder_of_rates_or_batch_sizes_works_anew(data_root, tmp_path):
    data, path = tiny_data(data_root, image_size=32), tmp_path / "last.ckpt"
    module, fitter = tiny_student("stpm", image_size=32), trainer(tmp_path, 2, limit_val_batches=0)
    fitter.fit(module, datamodule=data)
    fitter.save_checkpoint(path)
    Tuner(fitter).scale_batch_size(
        module, datamodule=data, init_val=1, max_trials=2, steps_per_trial=1
    )
    assert (data.batch_size, fitter.global_step) == (2, 2)
    for finder in (BatchSizeFinder(), LearningRateFinder()):
        fitter = trainer(tmp_path, 4, callbacks=[finder])
        with pytest.raises(ConfigError, match="Finder would begin a resumed training anew: leave"):
            fitter.fit(module, datamodule=tiny_data(data_root, image_size=32), ckpt_path=path)


def test_a_training_needs_a_last_step(data, tmp_path):
    fitter = Trainer(accelerator="cpu", max_epochs=2, logger=False, default_root_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"no epochs: give Trainer\(max_steps=N\)"):
        fitter.fit(tiny_student(), datamodule=data)


def test_a_training_goes_on_with_its_data(data, data_root, textures, tmp_path):
    fitter = trainer(tmp_path, 1)
    fitter.fit(tiny_student(lr=0.05), datamodule=data)
    fitter.save_checkpoint(tmp_path / "one.ckpt")
    options = {"image_size": 64, "batch_size": 4, "num_workers": 0}
    module, again = tiny_student(lr=0.05), trainer(tmp_path, 2)
    saved = {"ckpt_path": tmp_path / "one.ckpt"}
    for changed, told in (
        ({"seed": 1}, r"trained with --data.seed 0, not 1"),
        ({"val_fraction": 0}, r"trained with --data.val_fraction 0.1, not 0"),
        ({"synthesis": SynthesisParams(threshold=0.4)}, r"--data.synthesis .*0.5.* not .*0.4"),
    ):
        other = AnomalyDataModule(str(data_root), "widget", str(textures), **options | changed)
        with pytest.raises(CheckpointError, match=told):
            again.fit(module, datamodule=other, **saved)
    again.test(module, datamodule=other, verbose=False, **saved)
    same = AnomalyDataModule(str(data_root), "widget", str(textures), **options)
    again.fit(module, datamodule=same, **saved)
    assert again.global_step == 2


def test_what_was_trained_on_is_not_held_out(data_root, tmp_path):
    options = {"image_size": 64, "batch_size": 4, "num_workers": 0, "synthesis": None}
    everything = AnomalyDataModule(str(data_root), "widget", val_fraction=0, **options)
    module = tiny_student("stpm", lr=0.05)
    fitter = trainer(tmp_path, 1)
    fitter.fit(module, datamodule=everything)
    fitter.save_checkpoint(tmp_path / "all.ckpt")
    some = AnomalyDataModule(str(data_root), "widget", **options)
    with pytest.raises(
        ConfigError, match=r"--data\.val_fraction 0, not 0\.1, which would hold out images that it"
    ):
        fitter.validate(module, datamodule=some, ckpt_path=tmp_path / "all.ckpt", verbose=False)
    deep = AnomalyDataModule(str(data_root), "widget", bits=12, val_fraction=0, **options)
    with pytest.raises(ConfigError, match=r"with --data\.bits 16, not 12: pass --data\.bits 16"):
        fitter.validate(module, datamodule=deep, ckpt_path=tmp_path / "all.ckpt", verbose=False)


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_a_module_knows_what_it_was_trained_on_last(data_root, tmp_path):
    def data(**more):
        return tiny_data(data_root, synthesis=None, **more)

    module = tiny_student("stpm", lr=0.05)
    trainer(tmp_path, 1).fit(module, datamodule=data(val_fraction=0))
    seen = r"the module was trained with --data\.val_fraction 0, not 0\.1, which would hold out"
    with pytest.raises(ConfigError, match=seen):
        trainer(tmp_path, 1).validate(module, datamodule=data(), verbose=False)
    # A file that another Trainer writes after a test on other data tells the same.
    tester = trainer(tmp_path, 1)
    tester.test(module, datamodule=data(), verbose=False)
    tester.save_checkpoint(tmp_path / "tested.ckpt")
    loaded = StudentDistillModule.load_from_checkpoint(tmp_path / "tested.ckpt")
    assert loaded.trained_on["options"]["val_fraction"] == 0
    with pytest.raises(ConfigError, match=seen):
        trainer(tmp_path, 1).validate(loaded, datamodule=data(), verbose=False)
    # Without a data module, it is unknown.
    batch = {"clean": torch.rand(2, 3, 64, 64)}
    tester = trainer(tmp_path, 1)
    tester.fit(loaded, DataLoader([batch], batch_size=None))
    tester.test(loaded, datamodule=data(), verbose=False)
    tester.save_checkpoint(tmp_path / "tested.ckpt")
    loaded = StudentDistillModule.load_from_checkpoint(tmp_path / "tested.ckpt")
    assert loaded.trained_on is None
    # Trained further with other bits, it is validated with these.
    module, deep = tiny_student("stpm", lr=0.05), data(bits=12)
    trainer(tmp_path, 1).fit(module, datamodule=data())
    trainer(tmp_path, 1).fit(module, datamodule=deep)
    trainer(tmp_path, 1).validate(module, datamodule=deep, verbose=False)


@pytest.mark.slow
@pytest.mark.parametrize("load", ["load_from_checkpoint", "from_pretrained"])
def test_a_module_that_was_loaded_remembers_what_it_was_trained_on(data_root, tmp_path, load):
    shutil.copytree(data_root / "widget", tmp_path / "cap")
    shutil.copytree(data_root / "widget", tmp_path / "widget")
    good = tmp_path / "widget/train/good"
    shutil.copy(good / "000.png", good / "100.png")
    fitter = trainer(tmp_path, 1)
    fitter.fit(tiny_student("stpm"), datamodule=tiny_data(data_root, val_fraction=0))
    fitter.save_checkpoint(tmp_path / "all.ckpt")
    fitter = trainer(tmp_path, 1)
    fitter.fit(tiny_student("stpm"), datamodule=tiny_data(data_root))
    fitter.save_checkpoint(tmp_path / "some.ckpt")
    module = getattr(StudentDistillModule, load)(tmp_path / "all.ckpt")
    for start in ("validate", "fit"):
        with pytest.raises(ConfigError, match=r"the module was trained with .*val_fraction 0, not"):
            getattr(trainer(tmp_path, 1), start)(module, datamodule=tiny_data(data_root))
    deep = tiny_data(data_root, bits=12, val_fraction=0.1)
    other = AnomalyDataModule(tmp_path, "cap", image_size=64, num_workers=0, synthesis=None)
    trainer(tmp_path, 1).fit(module, datamodule=other)
    trainer(tmp_path, 1).test(module, datamodule=tiny_data(data_root), verbose=False)
    module = getattr(StudentDistillModule, load)(tmp_path / "some.ckpt")
    with pytest.raises(ConfigError, match=r"the module was trained with --data\.bits 16, not 12"):
        trainer(tmp_path, 1).validate(module, datamodule=deep)
    with pytest.raises(CheckpointError, match=r"the module was trained on other .*11, now 12"):
        trainer(tmp_path, 1).fit(module, datamodule=tiny_data(tmp_path))
    # The weights are those of the other checkpoint then.
    again = {"datamodule": tiny_data(data_root, val_fraction=0), "ckpt_path": tmp_path / "all.ckpt"}
    trainer(tmp_path, 2).fit(module, **again)


def test_a_test_of_another_category_is_told(data_root, tmp_path, caplog):
    shutil.copytree(data_root / "widget", tmp_path / "gadget")
    options = {"image_size": 64, "batch_size": 4, "num_workers": 0, "synthesis": None}
    module = tiny_student("stpm", lr=0.05)
    fitter = trainer(tmp_path, 1)
    fitter.fit(module, datamodule=AnomalyDataModule(str(data_root), "widget", **options))
    fitter.save_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    for root, category, told in ((data_root, "widget", False), (tmp_path, "gadget", True)):
        data = AnomalyDataModule(str(root), category, **options)
        fitter.test(module, datamodule=data, ckpt_path=tmp_path / "last.ckpt", verbose=False)
        assert ("trained on category widget, not gadget" in caplog.text) is told


@pytest.mark.parametrize(
    ("system", "options", "told"),
    [
        ("destseg", {"kernels": (1, 3, 5)}, "kernels belongs to a part that DeSTSeg"),
        ("pfadseg", {"second_conv": "conv", "recalibration": "pixel"}, "recalibration .* PFADSeg"),
        ("destseg", {"gates": "random"}, "gates belongs to a part that DeSTSeg"),
        ("pfadseg", {"fusion": "add", "gates": "random"}, "gates belongs to a part that PFADSeg"),
        ("destseg", {"teacher2": "test_resnet"}, "teacher2 belongs to a part that DeSTSeg"),
        ("stpm", {"upsample": "bilinear"}, "upsample belongs to a part that STPM"),
        ("stpm", {"weights2": "random"}, "weights2 belongs to a part that STPM"),
        ("stpm", {"memory_size": 9}, "memory_size belongs to a part that STPM"),
        ("tedseg", {"weights2": "random"}, "weights2 .* or give --model.teacher2"),
        (
            "tedseg",
            {**SECOND_TEACHER, "upsample": "bilinear"},
            "upsample belongs to a part that TEDSeg",
        ),
        ("tedseg", {"width": 32}, "width belongs to a part that TEDSeg"),
        ("tedseg", {"lr": 0.1}, "lr belongs to a part that TEDSeg"),
    ],
)
def test_options_that_no_part_reads_are_refused(system, options, told):
    with pytest.raises(ConfigError, match=f"--model.{told}"):
        tiny_student(system, **options)
    # Of a checkpoint that was made with them, they change nothing.
    tiny_student(system, **options | {"weights": "stored"})


def test_layer_scale_is_of_the_rcm(distilled):
    with pytest.raises(ConfigError, match="layer_scale belongs to the RCM"):
        segmentation(distilled, layer_scale=0.1)
    assert segmentation(distilled, layer_scale=0.1, context="rcm").hparams["layer_scale"] == 0.1


def test_numbers_of_numpy_make_readable_checkpoints(data_root, textures, tmp_path):
    data = AnomalyDataModule(
        str(data_root),
        str(np.array(["widget"])[0]),
        str(textures),
        image_size=64,
        batch_size=4,
        num_workers=0,
        seed=np.int64(1),
        val_fraction=np.float64(0.1),
        synthesis=SynthesisParams(threshold=np.float64(0.4)),
    )
    fitter = trainer(tmp_path, 1)
    fitter.fit(tiny_student(lr=0.05), datamodule=data)
    fitter.save_checkpoint(tmp_path / "one.ckpt")
    assert read_checkpoint(tmp_path / "one.ckpt")["AnomalyDataModule"]["options"]["seed"] == 1


def test_a_training_goes_on_whose_checkpoint_lacks_an_option_of_today(data, distilled, tmp_path):
    fitter = trainer(tmp_path, 1)
    fitter.fit(segmentation(distilled), datamodule=data)
    fitter.save_checkpoint(tmp_path / "one.ckpt")
    checkpoint = read_checkpoint(tmp_path / "one.ckpt")
    for network in (checkpoint[HEADER_KEY]["network"], checkpoint["hyper_parameters"]["network"]):
        del network["gates"]
    write_checkpoint(checkpoint, tmp_path / "before.ckpt")
    fitter = trainer(tmp_path, 2)
    fitter.fit(segmentation(distilled), datamodule=data, ckpt_path=tmp_path / "before.ckpt")
    assert fitter.global_step == 2


def test_images_that_were_added_are_told_where_some_are_held_out(
    data_root, textures, distilled, tmp_path
):
    """Which images are held out depends on all of them."""
    shutil.copytree(data_root, tmp_path / "data")
    good = tmp_path / "data/widget/train/good"
    shutil.copy(good / "000.png", good / "100.png")
    told = r"was trained on other images of widget \(11, now 12\): restore them, or train again"
    data = tiny_data(tmp_path / "data", textures)
    with pytest.raises(CheckpointError, match=f"model.distilled {told}"):
        trainer(tmp_path, 1).fit(segmentation(distilled), datamodule=data)
    with pytest.raises(CheckpointError, match=f"the checkpoint {told}"):
        trainer(tmp_path, 1).validate(tiny_student(), data, ckpt_path=distilled, weights_only=True)
    everything = tiny_data(tmp_path / "data", textures, val_fraction=0)
    trainer(tmp_path, 1).fit(segmentation(distilled), datamodule=everything)


def test_the_segmentation_knows_the_number_of_each_sample(data_root, textures, tmp_path):
    numbers = []

    class Counts(SegmentationModule):
        def logits(self, pairs):
            if self.training:
                numbers.append(pairs[0].number.tolist())
            return super().logits(pairs)

    data = tiny_data(data_root, textures, batch_size=3)
    first = trainer(tmp_path, 1)
    first.fit(tiny_student(), datamodule=data)
    first.save_checkpoint(tmp_path / "distill.ckpt")
    fitter = trainer(tmp_path, 2)
    module = Counts(tmp_path / "distill.ckpt", segmentation_width=16)
    fitter.fit(module, datamodule=tiny_data(data_root, textures, batch_size=3))
    assert numbers == [[3, 4, 5], [6, 7, 8]]


def test_a_checkpoint_of_another_category_may_be_validated(
    data_root, textures, distilled, tmp_path
):
    shutil.copytree(data_root / "widget", tmp_path / "data/other")
    (tmp_path / "data/other/train/good/000.png").unlink()
    options = {"image_size": 64, "batch_size": 4, "num_workers": 0}
    data = AnomalyDataModule(tmp_path / "data", "other", textures, **options)
    trainer(tmp_path, 1).validate(tiny_student(), data, ckpt_path=distilled, weights_only=True)


@pytest.mark.parametrize("size", [np.array([64, 32]), (np.int32(64), 32)])
def test_sizes_may_be_numbers_of_numpy(size):
    assert tiny_student("stpm", image_size=size).image_size == (64, 32)
    with pytest.raises(ConfigError, match=r"image_size is 64\.5; it must be one or two numbers"):
        tiny_student("stpm", image_size=64.5)
