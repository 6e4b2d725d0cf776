"""Figures at the images' own size, against definitions applied pixel by pixel."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from scipy import ndimage
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, IterableDataset, SubsetRandomSampler

from padseg.callbacks import EvaluationCallback
from padseg.data import AnomalyDataModule
from padseg.data.images import read_image
from padseg.data.pairs import to_unit
from padseg.errors import ConfigError, DataError, PadsegError
from padseg.metrics.functional import rank
from padseg.modules import StudentDistillModule
from padseg.modules.expected_warnings import ignore_expected_warnings
from tiny import tiny_data, tiny_student

SHAPES = ((150, 90), (40, 200), (64, 64), (97, 131), (30, 33))  # (H, W)


@pytest.fixture
def module() -> StudentDistillModule:
    """Untrained; what these figures are made of must not depend on other tests."""
    torch.manual_seed(0)
    return tiny_student(top_k=5)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Images of several sizes; most defects are too small for 64x64, one has two files."""
    rng = np.random.default_rng(0)

    def save(name: str, pixels: np.ndarray) -> None:
        (tmp_path / "w" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "w" / name)

    for number, shape in enumerate(SHAPES):
        for split in ("train/good", "test/good", "test/cut"):
            save(f"{split}/{number}.png", rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
        mask = np.zeros(shape, np.uint8)
        for _ in range(4):
            y, x = rng.integers(0, np.array(shape) - 8)
            mask[y : y + rng.integers(1, 7), x : x + rng.integers(1, 7)] = 255
        save(f"ground_truth/cut/{number}_mask.png", mask)
    mask = np.zeros(SHAPES[0], np.uint8)
    mask[140:, 5:9] = 255
    save("ground_truth/cut/0_mask_2.png", mask)
    return tmp_path


def literal(maps: list[np.ndarray], masks: list[np.ndarray]) -> dict[str, float]:
    """PRO up to a rate of 0.3 (Bergmann et al.), IAP and IAP@90 (Zhang et al.)."""
    values = np.concatenate([one.ravel() for one in maps]).astype(np.float64)
    defect = np.concatenate([one.ravel() for one in masks])
    regions = []
    for score_map, mask in zip(maps, masks, strict=True):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [
            score_map[labels == number].astype(np.float64) for number in range(1, count + 1)
        ]
    thresholds = np.unique(values)[::-1]
    normal = np.sort(values[~defect])
    fpr = 1 - np.searchsorted(normal, thresholds, side="left") / len(normal)
    overlap = np.mean(
        [1 - np.searchsorted(np.sort(one), thresholds, side="left") / len(one) for one in regions],
        axis=0,
    )
    x, y = np.append(0, fpr), np.append(0, overlap)
    grid = np.append(x[x < 0.3], 0.3)
    pro = np.trapezoid(np.append(y[x < 0.3], np.interp(0.3, x, y)), grid) / 0.3
    at = sorted(np.sort(one)[::-1][math.floor(0.5 * len(one))] for one in regions)
    precision, best = [], 0.0
    for threshold in at:
        found = values >= threshold
        best = max(best, (found & defect).sum() / found.sum())
        precision.append(best)
    needed = math.ceil(0.9 * len(at) - 1e-9)
    return {"pro": pro, "iap": float(np.mean(precision)), "iap90": precision[len(at) - needed]}


@pytest.mark.parametrize("batch_size", [1, 4])
def test_native_figures(root, module, make_trainer, batch_size):
    options = {"synthesis": None, "image_size": 64, "num_workers": 0, "batch_size": batch_size}
    data = AnomalyDataModule(str(root), "w", **options, evaluation="native")
    evaluation = EvaluationCallback()
    (figures,) = make_trainer(evaluation).test(module, datamodule=data, verbose=False)
    assert data.checked_test.evaluation.size is None
    assert data.checked_test.evaluation.masks.images == len(SHAPES)
    assert data.checked_test.evaluation.masks.lost_regions == 0
    maps, masks = [], []
    images = [torch.from_numpy(read_image(one.path, (64, 64))) for one in data.checked_test.samples]
    with torch.inference_mode():  # in the same batches, on whose size the last bits depend
        batches = to_unit(torch.stack(images)).split(batch_size)
        scored = torch.cat([module.eval()(batch)["score_map"] for batch in batches])
    for sample, small in zip(data.checked_test.samples, scored.split(1), strict=True):
        shape = Image.open(sample.path).size[::-1]
        shrinks = shape[0] < 64 or shape[1] < 64
        large = functional.interpolate(small, shape, mode="bilinear", antialias=shrinks)
        maps.append(large.clamp(0, 1)[0, 0].numpy())
        own = [np.asarray(Image.open(path)) > 0 for path in sample.masks]
        masks.append(np.logical_or.reduce([np.zeros(shape, bool), *own]))
    for name, value in literal(maps, masks).items():
        assert figures[name] == pytest.approx(value, abs=2e-6), name
    reduced = AnomalyDataModule(str(root), "w", **options)
    (others,) = make_trainer(EvaluationCallback()).test(module, datamodule=reduced, verbose=False)
    assert others["image_auroc"] == figures["image_auroc"]
    assert others["pro"] != pytest.approx(figures["pro"], abs=1e-3)
    assert reduced.checked_test.evaluation.size == (64, 64)
    assert (
        0
        < reduced.checked_test.evaluation.masks.lost_regions
        < reduced.checked_test.evaluation.masks.regions
    )


def test_the_mean_map_of_held_out_images_is_that_of_the_normal_ones(
    data_root, textures, module, make_trainer
):
    data = tiny_data(data_root, textures, val_fraction=0.5)
    (figures,) = make_trainer(EvaluationCallback()).validate(module, data, verbose=False)
    means, labels = [], []
    for loaded in data.val_dataloader():
        batch = data.on_after_batch_transfer(loaded, 0)
        with torch.inference_mode():
            means += module.eval()(batch["image"])["score_map"].mean((1, 2, 3)).tolist()
        labels += batch["label"].tolist()
    assert any(labels)
    normal = [mean for mean, label in zip(means, labels, strict=True) if not label]
    assert figures["val_score_map"] == pytest.approx(np.mean(normal), rel=1e-5)


def test_one_loader_may_be_in_a_list(module, make_data, make_trainer):
    data = make_data()
    trainer = make_trainer(EvaluationCallback())
    (alone,) = trainer.test(module, datamodule=data, verbose=False)
    loader, held_out = data.test_dataloader, data.val_dataloader
    for given in (lambda: [loader()], lambda: {"whole": loader()}):
        data.test_dataloader = given
        (found,) = trainer.test(module, datamodule=data, verbose=False)
        assert found == pytest.approx(alone, nan_ok=True)
    data.val_dataloader = lambda: [held_out()]
    (validated,) = trainer.validate(module, datamodule=data, verbose=False)
    assert "val_score_map" in validated


def test_other_loaders_are_evaluated_if_their_batches_are_complete(module, make_trainer):
    batch = {"image": torch.rand(2, 3, 64, 64), "label": torch.tensor([False, True])}
    regions = torch.zeros(2, 1, 64, 64, dtype=torch.int32)
    regions[1, :, :9, :9] = 1
    loader = DataLoader([batch | {"regions": regions}], batch_size=None)
    trainer = make_trainer(EvaluationCallback(), limit_test_batches=1)
    (found,) = trainer.test(module, loader, verbose=False)
    assert 0 <= found["pixel_ap"] <= 1
    assert "val_score_map" in trainer.validate(module, loader, verbose=False)[0]
    with pytest.raises(ConfigError, match=r"batches of the data have no 'regions': give dicts"):
        trainer.test(module, DataLoader([batch], batch_size=None), verbose=False)


class Images(Dataset):
    """Images of others, of which every second has a defect."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(index))
        regions = torch.zeros(1, 64, 64, dtype=torch.int32)
        regions[:, :9, :9] = index % 2
        return {"image": image, "label": bool(index % 2), "regions": regions}


class Endless(IterableDataset):
    """The same images, of unknown number."""

    def __iter__(self):
        return (Images()[index] for index in range(4))


@pytest.mark.parametrize(
    ("loader", "seen"),
    [
        (DataLoader(Endless(), 2), 4),
        (DataLoader(Images(), 2, sampler=SubsetRandomSampler([0, 1, 2])), 3),
        (DataLoader(Images(), 2, drop_last=True), 6),
    ],
)
def test_loaders_of_others_may_leave_images_out(module, make_trainer, loader, seen):
    evaluation = EvaluationCallback()
    (found,) = make_trainer(evaluation).test(module, loader, verbose=False)
    assert evaluation.pixel.images_seen == seen
    assert 0 <= found["pixel_ap"] <= 1


def test_a_wrong_share_of_the_images_is_told(module, data_root, make_trainer):
    data = tiny_data(data_root)
    data.setup("test")
    last = len(data._test) - 1
    data.test_dataloader = lambda: DataLoader(data._test, 4, sampler=[0, last, last])
    with pytest.raises(PadsegError, match=r"3 images were evaluated, the data has \d+: some proc"):
        make_trainer(EvaluationCallback()).test(module, datamodule=data, verbose=False)


def test_a_second_evaluation_is_refused(module, data_root, make_trainer):
    trainer = make_trainer(EvaluationCallback(), EvaluationCallback(fpr_limit=0.02))
    with pytest.raises(ConfigError, match=r"several EvaluationCallbacks, .* set --evaluation\."):
        trainer.test(module, tiny_data(data_root))


@pytest.mark.filterwarnings("ignore:.*LeafSpec")  # of Lightning
def test_a_module_without_scores_is_told(data_root, make_trainer):
    class Own(LightningModule):
        def test_step(self, batch):
            return None

    with pytest.raises(ConfigError, match=r"test_step or validation_step must return a dict with "):
        make_trainer(EvaluationCallback()).test(Own(), tiny_data(data_root), verbose=False)


def test_a_defect_whose_mask_vanishes_is_no_normal_image(root, module, make_trainer):
    (root / "w/ground_truth/cut/0_mask_2.png").unlink()
    mask = np.zeros(SHAPES[0], np.uint8)
    mask[70, 40] = 255
    Image.fromarray(mask).save(root / "w/ground_truth/cut/0_mask.png")
    data = AnomalyDataModule(root, "w", synthesis=None, image_size=64, num_workers=0, batch_size=4)
    evaluation = EvaluationCallback()
    make_trainer(evaluation).test(module, datamodule=data, verbose=False)
    assert data.checked_test.evaluation.masks.lost_images >= 1
    counts = evaluation.further["aupimo"]._all_counts()
    assert rank(counts).negatives == len(SHAPES) * 64 * 64  # of the good ones


def loco(root: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Make it a category of MVTec LOCO: masks that overlap, in a folder for each image, with saturations.

    Returns:
        For each defective image, its defects (C, H, W) and how many pixels of each suffice.
    """
    kinds = [
        {"defect_name": "cut", "pixel_value": 255, "saturation_threshold": 12.0, "relative_saturation": False},
        {"defect_name": "gone", "pixel_value": 254, "saturation_threshold": 0.25, "relative_saturation": True},
    ]  # fmt: skip
    (root / "w/defects_config.json").write_text(json.dumps(kinds))
    shutil.rmtree(root / "w/ground_truth")
    rng, found = np.random.default_rng(3), []
    for number, shape in enumerate(SHAPES):
        defects, needed = [], []
        for file, kind in enumerate(kinds[: 1 + number % 2]):
            mask = np.zeros(shape, np.uint8)
            for _ in range(2):
                y, x = rng.integers(0, np.array(shape) - 12)
                mask[y : y + rng.integers(2, 12), x : x + rng.integers(2, 12)] = kind["pixel_value"]
            path = root / f"w/ground_truth/cut/{number}/{file:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
            defects.append(mask > 0)
            area = int((mask > 0).sum())
            needed.append(min(12, area) if file == 0 else max(1, int(area / 4)))
        found.append((np.stack(defects), np.array(needed)))
    return found


def test_mvtec_loco_has_its_own_metric(root, module, make_trainer, caplog):
    expected = loco(root)
    for folder in (root / "w/test", root / "w/ground_truth"):  # two kinds of anomalies
        (folder / "lack").mkdir()
        for number in (3, 4):
            for path in (folder / "cut").glob(f"{number}*"):
                path.rename(folder / "lack" / path.name)
    options = {"synthesis": None, "image_size": 64, "num_workers": 0, "batch_size": 1}
    data = AnomalyDataModule(str(root), "w", **options, layout="mvtec_loco")
    (figures,) = make_trainer(EvaluationCallback()).test(module, datamodule=data, verbose=False)
    assert "which is sPRO" in caplog.text
    assert "compare only spro5 with published figures" in caplog.text
    scored = {}
    for one in data.checked_test.samples:
        image = to_unit(torch.from_numpy(read_image(one.path, (64, 64)))[None])
        with torch.inference_mode():
            small = module.eval()(image)["score_map"]
        shape = Image.open(one.path).size[::-1]
        shrinks = shape[0] < 64 or shape[1] < 64
        large = functional.interpolate(small, shape, mode="bilinear", antialias=shrinks)
        none = (np.zeros((0, *shape), bool), np.zeros(0))
        defects, needed = none if one.defect == "good" else expected[int(one.path.stem)]
        mine = (large.clamp(0, 1)[0, 0].numpy(), defects, needed)
        scored.setdefault(one.defect, []).append(mine)
    areas = [literal_spro([*scored["good"], *scored[kind]]) for kind in ("cut", "lack")]
    assert abs(areas[0] - areas[1]) > 1e-3
    assert figures["spro5"] == pytest.approx(np.mean(areas), abs=2e-6)


@pytest.mark.filterwarnings("ignore:.*not defined and set to nan")
@pytest.mark.parametrize("seen", [1, 0])
def test_mvtec_loco_with_some_of_its_images(seen, root, module, make_trainer):
    loco(root)
    if not seen:
        shutil.rmtree(root / "w/test/cut")
        shutil.rmtree(root / "w/ground_truth")
    options = {"synthesis": None, "image_size": 64, "num_workers": 0, "batch_size": 1}
    data = AnomalyDataModule(root, "w", **options, layout="mvtec_loco")
    trainer = make_trainer(EvaluationCallback())
    trainer.limit_test_batches = seen or 1.0
    (figures,) = trainer.test(module, datamodule=data, verbose=False)
    assert math.isnan(figures["spro5"]) is (seen == 0)


def literal_spro(sample: list[tuple[np.ndarray, ...]]) -> float:
    """The area up to a rate of 0.05 of images, each with its scores, defects and the pixels that suffice."""
    normal = np.concatenate([values[~defects.any(0)] for values, defects, _ in sample])
    fpr, covered = [0.0], [0.0]
    for threshold in np.unique(np.concatenate([values.ravel() for values, _, _ in sample]))[::-1]:
        fpr.append((normal >= threshold).mean())
        covered.append(
            np.mean(
                [
                    min((values[defect] >= threshold).sum() / enough, 1)
                    for values, defects, needed in sample
                    for defect, enough in zip(defects, needed, strict=True)
                ]
            )
        )
        if fpr[-1] > 0.05:
            break
    at_limit = np.interp(0.05, fpr[-2:], covered[-2:])
    return np.trapezoid([*covered[:-1], at_limit], [*fpr[:-1], 0.05]) / 0.05


def test_masks_that_its_configuration_lacks_are_refused(root):
    loco(root)
    path = root / "w/ground_truth/cut/1/001.png"
    mask = np.array(Image.open(path))
    Image.fromarray(np.where(mask > 0, 253, 0).astype(np.uint8)).save(path)
    data = AnomalyDataModule(str(root), "w", synthesis=None, image_size=64, layout="mvtec_loco")
    with pytest.raises(DataError, match=r"001\.png has the values \[253\] besides 0; give it one"):
        data.setup("test")
    (root / "w/defects_config.json").write_text("{")
    with pytest.raises(DataError, match=r"defects_config\.json is broken"):
        data.setup("test")


def test_undefined_figures_are_logged_without_a_warning(tmp_path, caplog):
    pytest.importorskip("tensorboardX")
    ignore_expected_warnings()
    TensorBoardLogger(tmp_path).log_metrics({"aupimo": math.nan})
    assert not caplog.records
