"""The predictor against the module's own output and against brute force."""

import copy
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer
from PIL import ExifTags, Image
from scipy import ndimage

from padseg.data.images import read_image
from padseg.errors import CheckpointError, ConfigError, DataError
from padseg.inference import Predictor
from padseg.inference.prediction import find_regions, make_prediction
from padseg.inference.tiles import Blend, tile_boxes
from padseg.metrics.score_scale import ScoreScale
from tiny import fill_memory, save_module, tiny_data, tiny_student


@pytest.fixture(scope="module")
def predictor(checkpoint) -> Predictor:
    return Predictor(checkpoint, device="cpu", precision="32-true")


def picture(height: int = 64, width: int = 64, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random((height, width, 3)), (3, 3, 0))
    return (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def answer(module, pixels: np.ndarray) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return module(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)


def test_an_image_of_the_modules_size_gets_the_modules_answer(predictor, module, tmp_path):
    pixels = picture()
    expected = answer(module, pixels)
    Image.fromarray(pixels).save(tmp_path / "ä 1.png")
    forms = [pixels, Image.fromarray(pixels), tmp_path / "ä 1.png", str(tmp_path / "ä 1.png")]
    for form in forms:
        found = predictor(form)
        assert np.array_equal(found.score_map, expected["score_map"][0, 0].numpy())
        assert found.image_score == float(expected["image_score"])
        assert np.array_equal(found.image, pixels)
    assert len(predictor(forms)) == 4
    assert predictor([]) == []


@pytest.mark.gpu
@pytest.mark.usefixtures("without_tf32")
@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 1e-4), ("bf16-mixed", 0.02)])
def test_a_gpu_scores_like_the_cpu(precision, tolerance, module, gpu):
    images = [picture(height, width) for height, width in ((64, 64), (100, 150), (500, 70))]
    expected = Predictor(copy.deepcopy(module), "cpu", "32-true")(images)
    found = Predictor(copy.deepcopy(module), gpu, precision, batch_size=2)(images)
    for one, other in zip(found, expected, strict=True):
        assert one.image_score == pytest.approx(other.image_score, abs=tolerance)
        assert np.abs(one.score_map - other.score_map).max() < tolerance


@pytest.mark.parametrize("size", [(100, 150), (500, 70)])
def test_other_sizes_are_resized_as_in_training_and_back(predictor, module, size, tmp_path):
    pixels = picture(*size)
    Image.fromarray(pixels).save(tmp_path / "1.png")
    found = predictor(tmp_path / "1.png")
    expected = answer(module, read_image(tmp_path / "1.png", (64, 64)))
    assert found.image_score == float(expected["image_score"])
    enlarged = torch.nn.functional.interpolate(
        expected["score_map"], size, mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(found.score_map, enlarged[0, 0], atol=1e-6)


def test_scores_are_those_of_a_test_run(predictor, module, data_root):
    class Scores(Callback):
        found: dict[str, float] = {}  # noqa: RUF012

        def on_test_batch_end(self, trainer, pl_module, outputs, batch, *rest):
            self.found |= dict(zip(batch["path"], outputs["image_score"].tolist(), strict=True))

    data = tiny_data(data_root, batch_size=3)
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[Scores()]
    )
    trainer.test(module, datamodule=data, verbose=False)
    paths = list(Scores.found)
    assert len(paths) == 7
    scores = [found.image_score for found in predictor(paths)]
    np.testing.assert_allclose(scores, list(Scores.found.values()), atol=1e-6)


def test_a_module_that_scores_amid_its_training_stays_in_its_mode(predictor, module):
    image = picture(64, 64, 0)
    trained = copy.deepcopy(module).train()
    trained._trainer = SimpleNamespace(training=True)
    trained.student_teacher.student.eval()  # as a user may freeze a part
    modes = [part.training for part in trained.modules()]
    found = Predictor(trained, device="cpu", precision="32-true")(image)
    assert [part.training for part in trained.modules()] == modes
    assert trained.training
    assert found.image_score == predictor(image).image_score


def test_threads_score_with_a_module_that_was_in_training_mode(predictor, module):
    shared = Predictor(copy.deepcopy(module).train(), device="cpu", precision="32-true")
    images = [picture(64, 64, seed) for seed in range(4)]
    expected = [predictor(image).image_score for image in images]
    before = copy.deepcopy(shared.module.state_dict())
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(shared, images * 5))
    assert [one.image_score for one in found] == expected * 5
    assert all(torch.equal(value, before[key]) for key, value in shared.module.state_dict().items())


def test_verdict_and_regions_follow_the_thresholds(predictor, module):
    found = predictor([picture(90, 70, seed) for seed in range(3)])
    assert module.calibration is not None
    for one in found:
        assert one.anomalous == (one.image_score > module.calibration.image_threshold)
        assert np.array_equal(one.mask, one.score_map > 0.02)
        assert (one.score > 0.5) == one.anomalous
        assert one.score == module.calibration.image_scale(one.image_score)
        assert np.array_equal(one.normalised_map > 0.5, one.mask)
        ordered = one.normalised_map.ravel()[one.score_map.argsort(None)]
        assert (np.diff(ordered) >= 0).all()
        assert sum(region.area for region in one.regions) == one.mask.sum()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_module_is_scored_with():
    module = tiny_student("tedseg", image_size=80)
    fill_memory(module.student_teacher, torch.rand(4, 3, 80, 80))
    # First, and in a size of its own: what is cached by functions need not be compiled.
    compiled = torch.compile(copy.deepcopy(module), backend="eager")
    found = Predictor(compiled, "cpu", "32-true")(picture())
    expected = Predictor(module, "cpu", "32-true")(picture())
    assert np.array_equal(found.score_map, expected.score_map)


def test_regions_equal_brute_force():
    score_map = np.zeros((8, 10), np.float32)
    score_map[1, 1] = score_map[2, 2] = 0.5  # touch at a corner
    score_map[5:7, 6:9] = 0.7
    score_map[5, 8] = 0.9
    score_map[7, 0] = 0.3  # at the threshold
    first, second = find_regions(score_map, ScoreScale(float(np.float32(0.3)), 0.1))
    assert first.box == (6, 5, 9, 7)
    assert (first.area, first.peak) == (6, pytest.approx(0.9))
    assert second.box == (1, 1, 3, 3)
    assert (second.area, second.peak) == (2, 0.5)
    assert find_regions(score_map, ScoreScale(0.95, 0.1)) == []


def test_what_exceeds_a_threshold_is_anomalous(make_calibration):
    calibration, score_map = make_calibration(0.25, 0.5), np.float32([[0.4, 0.5], [0.6, 1]])
    found = [
        make_prediction(Image.new("RGB", (2, 2)), score_map, score, calibration)
        for score in (0.2, 0.25, 0.3)
    ]
    assert [one.anomalous for one in found] == [False, False, True]
    assert found[0].mask.tolist() == [[False, False], [True, True]]


def test_tiles_equal_brute_force(checkpoint, module):
    tiled = Predictor(checkpoint, device="cpu", precision="32-true", tile=64, batch_size=4)
    pixels = picture(100, 150)
    boxes = tile_boxes(100, 150, 64)
    assert len(boxes) > 4
    blend, scores = Blend(100, 150), []
    for box in boxes:
        expected = answer(module, pixels[box.top : box.bottom, box.left : box.right])
        blend.add(box, expected["score_map"][0, 0].numpy())
        scores.append(float(expected["image_score"]))
    found, whole = tiled([pixels, picture(64, 64)])
    np.testing.assert_allclose(found.score_map, blend.result(), atol=1e-5)
    assert found.image_score == pytest.approx(max(scores), abs=1e-5)
    expected = Predictor(checkpoint, device="cpu", precision="32-true")(picture(64, 64))
    np.testing.assert_allclose(whole.score_map, expected.score_map, atol=1e-6)


@pytest.mark.parametrize("size", [(64, 64), (40, 64), (50, 30)])
def test_tiles_change_nothing_where_the_image_fits(predictor, checkpoint, size):
    tiled = Predictor(checkpoint, device="cpu", precision="32-true", tile=64)
    ours, whole = tiled(picture(*size)), predictor(picture(*size))
    assert np.array_equal(ours.score_map, whole.score_map)
    assert ours.image_score == whole.image_score


def test_kinds_of_images(predictor, tmp_path):
    pixels = picture()
    grey = pixels[..., 0]
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(pixels).save(tmp_path / "rgb.png")
    Image.fromarray(np.dstack([pixels, grey])).save(tmp_path / "rgba.png")
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "cmyk.tif")
    Image.fromarray(pixels).convert("P").save(tmp_path / "palette.png")
    found = {path.stem: predictor(path) for path in tmp_path.iterdir()}
    assert np.array_equal(found["8"].image, np.dstack([grey] * 3))
    assert np.array_equal(found["8"].score_map, found["16"].score_map)
    assert np.array_equal(found["8"].score_map, predictor(grey).score_map)
    assert np.array_equal(found["rgb"].score_map, found["rgba"].score_map)
    assert np.abs(found["cmyk"].image.astype(int) - pixels).max() <= 1
    assert found["palette"].image.shape == (64, 64, 3)


def test_an_open_picture_is_turned_like_its_file(predictor, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(picture(40, 70)).save(tmp_path / "lying.png", exif=exif)
    with Image.open(tmp_path / "lying.png") as opened:
        found = predictor(opened)
    assert found.image.shape == (70, 40, 3)
    assert np.array_equal(found.score_map, predictor(tmp_path / "lying.png").score_map)


def test_broken_images_are_named(predictor, tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not an image")
    Image.fromarray(picture()).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    for name in ("empty.png", "text.png", "cut.png", "float.tif", "missing.png"):
        with pytest.raises(DataError, match=name):
            predictor(tmp_path / name)
    for wrong in (np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)):
        with pytest.raises(DataError, match="array"):
            predictor(wrong)
    names = ["empty.png", "whole.png", "text.png"]
    answers = list(predictor.stream(tmp_path / name for name in names))
    assert [isinstance(one, DataError) for one in answers] == [True, False, True]


def test_results_are_finished_in_threads_while_the_network_computes(checkpoint, monkeypatch):
    predictor = Predictor(checkpoint, device="cpu", precision="32-true", batch_size=2)
    pictures = [picture(80, 60, seed) for seed in range(6)]
    expected = [predictor(one) for one in pictures]
    second, calls, waited = threading.Event(), [], []
    score = predictor.score

    def scored(image):
        calls.append(image)
        if len(calls) == 2:
            second.set()
        return score(image)

    def finish(*args):
        waited.append(second.wait(20))  # nobody sets it later, if the network waits for results
        return make_prediction(*args)

    monkeypatch.setattr(predictor, "score", scored)
    monkeypatch.setattr("padseg.inference.predictor.make_prediction", finish)
    found = predictor(pictures)
    assert waited == [True] * 6
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.image, other.image)
        np.testing.assert_allclose(one.score_map, other.score_map, atol=1e-6)


@pytest.mark.parametrize("tile", [None, 64])
@pytest.mark.parametrize(("room", "most"), [(1000, 4 + 2 + 3), (4, 4 + 2 + 1)])
def test_only_some_images_are_in_memory(checkpoint, monkeypatch, tile, room, most):
    monkeypatch.setattr("padseg.inference.predictor.MOST_PIXELS", room * 70 * 64)
    predictor = Predictor(checkpoint, device="cpu", batch_size=2, tile=tile)
    monkeypatch.setattr(predictor, "_finish", lambda job: time.sleep(0.01))
    taken: list[int] = []
    answers = predictor.stream(taken.append(seed) or picture(70, 64, seed) for seed in range(16))
    # Opened, in a batch, and finished; the one in use is counted as well.
    waiting = [len(taken) - used for used, _ in enumerate(answers)]
    assert len(waiting) == 16
    assert max(waiting) <= most


def test_a_checkpoint_without_calibration_gives_no_verdict(checkpoint, tmp_path):
    stored = torch.load(checkpoint, weights_only=True)
    del stored["padseg"]["calibration"]
    torch.save(stored, tmp_path / "older.ckpt")
    found = Predictor(tmp_path / "older.ckpt", device="cpu")(picture())
    assert found.score is found.normalised_map is found.anomalous is found.mask is None
    assert found.regions == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tile": 64}, "set without tiles, these images are scored with --tile 64"),
        ({"precision": "bf16-mixed"}, "set in 32-true, these images are scored in bf16-mixed"),
        ({}, ""),
    ],
)
def test_thresholds_of_other_scores_are_told_once(options, told, checkpoint, tmp_path, caplog):
    stored = torch.load(checkpoint, weights_only=True)
    stored["padseg"]["calibration"]["precision"] = "32-true"
    torch.save(stored, tmp_path / "last.ckpt")
    predictor = Predictor(tmp_path / "last.ckpt", device="cpu", **options)
    assert not caplog.messages
    for _ in range(2):
        predictor(picture())
    assert len(caplog.messages) == bool(told)
    assert told in caplog.text


def test_a_folder_is_no_image(predictor, tmp_path):
    with pytest.raises(DataError, match=r"is a folder: give the files in it\.$"):
        predictor(tmp_path)


def test_wrong_options_are_refused(checkpoint, tmp_path):
    for options, told in (
        ({"precision": "8"}, "--precision"),
        ({"device": "abacus"}, "--device"),
        ({"tile": 3}, "--tile"),
        ({"batch_size": 0}, "--batch-size"),
    ):
        with pytest.raises(ConfigError, match=told):
            Predictor(checkpoint, **options)
    with pytest.raises(CheckpointError, match="does not exist"):
        Predictor(tmp_path / "none.ckpt")


def test_pixels_are_read_with_the_bits_that_the_checkpoint_names(make_calibration, tmp_path):
    module = tiny_student(top_k=5)
    module.bits, module.calibration = 12, make_calibration(0.05, 0.02)
    path = save_module(module.eval(), tmp_path / "module.ckpt")
    grey = picture()[..., 0]
    Image.fromarray(grey.astype(np.uint16) << 4).save(tmp_path / "1.png")
    predictor = Predictor(path, device="cpu", precision="32-true")
    assert predictor.module.bits == 12
    by_path, by_image = predictor([tmp_path / "1.png", Image.open(tmp_path / "1.png")])
    for found in (by_path, by_image):
        assert np.array_equal(found.image, np.dstack([grey] * 3))
    assert by_path.image_score == pytest.approx(predictor(grey).image_score, rel=1e-5)


def test_a_device_that_holds_no_values_is_refused(checkpoint):
    with pytest.raises(ConfigError, match="meta"):
        Predictor(checkpoint, device="meta")
