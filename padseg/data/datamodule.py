"""The LightningDataModule for one category."""

import inspect
import operator
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler, Subset, default_collate

from padseg.data.augment import chosen_group, normal_augmentation, texture_jitter
from padseg.data.cache import ImageCache
from padseg.data.datasets import HeldOutDataset, TestDataset, TrainDataset, set_up
from padseg.data.depth import ALL_BITS
from padseg.data.duplicates import check_duplicates
from padseg.data.file_checks import check_files
from padseg.data.findings import change_figures, raise_blocking, warn_each_once
from padseg.data.foreground import OTSU, Foreground, find_foreground, foreground_source
from padseg.data.held_out import split_held_out
from padseg.data.image_files import list_textures
from padseg.data.images import as_size, measure_bits
from padseg.data.layouts import LAYOUTS, list_samples, list_trainable
from padseg.data.mask_files import find_folder
from padseg.data.pairs import Batch, DefectSource, paint_pairs, to_unit
from padseg.data.samplers import CountedSampler, ShardSampler
from padseg.data.samples import Sample
from padseg.data.stream import StreamOptions, TrainedImages
from padseg.data.stream_module import StreamDataModule
from padseg.data.testset import CheckedTest, check_testset, without_masks
from padseg.data.workers import check_workers, default_workers, forks, start_worker
from padseg.errors import ConfigError, DataError
from padseg.machine.files import expanded
from padseg.names import AUGMENTATIONS, EVALUATION_SIZES, AugmentationName, EvaluationSize
from padseg.options import check_range, check_seed, one_of
from padseg.plugins import loaded_plugins
from padseg.synthesis.params import SynthesisParams, require_params

_LARGEST_BATCH = 2**16
_DEFAULT_SYNTHESIS = SynthesisParams()


class AnomalyDataModule(StreamDataModule):
    """Normal images, synthetic pairs made from them, and the test images of one category.

    Training batches are pairs, painted on the device by `on_after_batch_transfer`: `clean` and `corrupted` (B, 3, H,
    W) float32 in [0, 1], `mask` (B, 1, H, W) float32 in {0, 1}, `texture` like the images, `index` and `number` (B,)
    int64, of the image among those trained on and of the sample in the stream; `clean` and these two alone without
    synthesis. Validation, test and prediction batches hold `image` (B, 3, H, W) float32 in [0, 1], `mask` (B, 1, H, W)
    uint8 (empty in predictions), `regions` likewise, int32, `label` (B,) bool, `index` (B,) int64 and `path`, a list.

    Validation uses only held-out normal images and synthetic defects. Only `test` and `predict` score the test set;
    `fit` compares the sizes and bytes of its files, to reject images that are on both sides.

    Args:
        root: Folder of the data set.
        category: Its category, a folder in `root`.
        textures: Folder of texture images for synthetic defects, such as `dtd/images`. Required unless `synthesis` is
            null.
        image_size: Height and width in pixels, or one number for both.
        batch_size: Images per step and device.
        seed: Seed of all draws.
        val_fraction: Share of the normal training images that is held out for validation. With 0, all are trained on,
            as in the papers, and there is no validation. If the data set has validation images, these are held out
            instead.
        augmentation: Augmentation of normal images: a group of DeSTSeg's lists, or `auto` for the group of the
            category in the layout `mvtec` (`none` for other layouts and other categories).
        jitter_textures: Whether textures get DRAEM's colour and geometry operators; not in DeSTSeg.
        synthesis: How defects are drawn; null for systems that train on normal images only.
        num_workers: Number of data worker processes, each with one thread. Null for two fewer than this process has
            cores, at most 8, and no more than fit into shared memory, which containers limit.
        cache_limit_mb: Images and textures are decoded once, into files that all processes and later trainings share:
            up to this many MiB in the folder `padseg-decoded-...` of the temporary folder (TMPDIR), where those
            unused for longest make room. If a set finds no room, it is in memory. One that is larger is in a
            temporary file of this training alone; with 0, every set is.
        layout: Layout of the data set's folder, see `padseg.data.layouts`.
        foreground: Keeps synthetic defects on the object, which `otsu` finds by a threshold. Or a folder that mirrors
            `root`, with a mask for each normal image, white on the object. With null, defects lie anywhere. A defect
            that misses the object leaves its sample clean; `synthesis.retries` draws further Perlin masks.
        evaluation: At which size a test compares score maps and masks: `model`, at `image_size`, as in the papers; or
            `native`, at each image's own size, to which its score map is enlarged bilinearly.
        bits: Bits that the pixels of 16-bit images use, 8 to 16, as many cameras fill only 10 or 12; null for as many
            as the largest value of the normal images needs. The checkpoint stores them.

    Attributes:
        checked_test: What a test is evaluated on; None before `setup` or `check_test` has checked it.
    """

    def __init__(
        self,
        root: str | Path,
        category: str,
        textures: str | Path | None = None,
        image_size: int | tuple[int, int] = 256,
        batch_size: int = 32,
        seed: int = 0,
        val_fraction: float = 0.1,
        augmentation: AugmentationName = "auto",
        jitter_textures: bool = False,
        synthesis: SynthesisParams | None = _DEFAULT_SYNTHESIS,
        num_workers: int | None = None,
        cache_limit_mb: float = 4096,
        layout: str = "mvtec",
        foreground: str | Path | None = None,
        evaluation: EvaluationSize = "model",
        bits: int | None = None,
    ) -> None:
        super().__init__()
        check_range("--data.batch_size", batch_size, 1, _LARGEST_BATCH)
        if not 0 <= val_fraction < 1:
            raise ConfigError(f"--data.val_fraction is {val_fraction}; it must be in [0, 1).")
        if not cache_limit_mb >= 0:
            raise ConfigError(f"--data.cache_limit_mb is {cache_limit_mb:g}; it must be from 0 up.")
        check_seed("--data.seed (of fit, --seed_everything)", seed)
        check_workers(num_workers)
        check_range("--data.bits", bits, 8, ALL_BITS)
        one_of("--data.layout", layout, LAYOUTS)
        one_of("--data.augmentation", augmentation, AUGMENTATIONS)
        one_of("--data.evaluation", evaluation, EVALUATION_SIZES)
        self.root = expanded(root)
        self.category = Path(category).as_posix()  # shells complete ./bottle/
        self.textures = None if textures is None else expanded(textures)
        self.image_size = as_size(image_size)
        self.batch_size = operator.index(batch_size)
        self.seed = seed
        self.val_fraction = val_fraction
        self.augmentation = augmentation
        self.jitter_textures = jitter_textures
        self.synthesis = require_params(synthesis)
        self.num_workers = num_workers
        self.cache_limit_mb = cache_limit_mb
        self.layout = layout
        self.foreground = foreground_source(foreground)
        self.evaluation = evaluation
        self._bits = bits
        self._made_of: dict[str, Any] | None = None  # at the first `setup`
        self.checked_test: CheckedTest | None = None
        self._train: TrainDataset | None = None
        self._held_out: HeldOutDataset | None = None
        self._test: TestDataset | None = None
        self._predicted: TestDataset | None = None

    def _options(self) -> dict[str, Any]:
        """The options that the datasets are made of; a Trainer may change the others."""
        every = inspect.signature(AnomalyDataModule).parameters.keys()
        names = every - {"batch_size", "num_workers", "bits"}
        return {name: getattr(self, name) for name in names}

    def setup(self, stage: str | None = None) -> None:
        """List, check and decode the images that the stage needs, unless they are there.

        Raises:
            ConfigError: An option has been changed since the first call.
            DataError: Something is missing or broken, or would distort results; the message names it.
        """
        options = self._options()
        self._made_of = self._made_of or options
        for name, value in options.items():
            if value != self._made_of[name]:
                raise ConfigError(
                    f"data.{name} was changed after the data had been set up: build another AnomalyDataModule."
                )
        if stage == "fit":
            self.begin()  # a resumed training sets its position after this
        if stage in ("fit", "validate", None) and self._train is None:
            samples = list_trainable(self.root, self.category, self.layout)
            findings = check_files([s for s in samples if s.split != "test"])
            raise_blocking(findings)
            raise_blocking(check_duplicates(samples))
            warn_each_once(change_figures(findings))
            self._measure_bits(samples)
            self._setup_train(samples)
        if stage in ("test", None) and self._test is None:
            native, checked = self.evaluation == "native", self.check_test()
            self._test = TestDataset(checked.samples, self.image_size, native, checked.saturations)
        if stage == "predict" and self._predicted is None:
            samples = without_masks(list_samples(self.root, self.category, self.layout))
            self._predicted = TestDataset(samples, self.image_size)

    def _setup_train(self, samples: Sequence[Sample]) -> None:
        defects = self._defects()
        train = [sample.path for sample in samples if sample.split == "train"]
        held_out = [sample.path for sample in samples if sample.split == "validation"]
        self.own_validation = bool(held_out)
        if self.val_fraction == 0 or not held_out:
            train, held_out = split_held_out(train, self.val_fraction)
        self.trained_images = TrainedImages.of(train)
        group = chosen_group(self.augmentation, self.category, self.layout)
        augmentation = normal_augmentation(group, self.image_size)
        images = self._cache(train, f"Decoding {self.category}", self.bits)
        foreground = self._foreground(images, train)
        self._train = TrainDataset(images, augmentation, defects, self.seed, foreground)
        if held_out:
            images = self._cache(held_out, f"Decoding {self.category}, held out", self.bits)
            foreground = self._foreground(images, held_out)
            self._held_out = HeldOutDataset(images, [*map(str, held_out)], defects, foreground)

    def _defects(self) -> DefectSource | None:
        if self.synthesis is None:
            return None
        if self.textures is None:
            raise DataError(
                "there are no textures to paint defects with: name their folder with --data.textures (preview: "
                "--textures), such as data/dtd/images after padseg download dtd --root data."
            )
        cache = self._cache(list_textures(self.textures), "Decoding textures")
        jitter = texture_jitter() if self.jitter_textures else None
        return DefectSource(cache, self.synthesis, jitter)

    @property
    def bits(self) -> int:
        """Bits that the pixels of 16-bit images use; before they are measured, what is given, or all."""
        return self._bits or ALL_BITS

    def _measure_bits(self, samples: Sequence[Sample] | None = None) -> int:
        if self._bits is None:
            samples = samples or list_samples(self.root, self.category, self.layout)
            self._bits = measure_bits([s.path for s in samples if s.split != "test"])
        return self._bits

    def _cache(self, paths: Sequence[Path], what: str, bits: int | None = None) -> ImageCache:
        bits = measure_bits(paths) if bits is None else bits
        limit, forked = self.cache_limit_mb, self.num_workers == 0 or forks()
        return ImageCache(paths, self.image_size, limit, what, bits, in_memory=forked)

    def _foreground(self, images: ImageCache, paths: Sequence[Path]) -> Foreground | None:
        if self.foreground is None or self.synthesis is None:
            return None
        return find_foreground(self.foreground, images, paths, self.root, self.image_size)

    def check_test(self, *, decoded: bool = False) -> CheckedTest:
        """Check every file of the test, images by their headers or `decoded`, and warn of what may change figures.

        Raises:
            DataError: There are none; or a file cannot be read; or a mask is missing, empty or of another
                size than its image; or an image is also trained on. The message names every file.
        """
        samples = list_samples(self.root, self.category, self.layout)
        size = None if self.evaluation == "native" else self.image_size
        bits = self._measure_bits(samples) if decoded else None
        folder = find_folder(self.root, self.category)
        self.checked_test = check_testset(folder, samples, self.layout, size, bits=bits)
        warn_each_once(self.checked_test.evaluation.warnings)
        return self.checked_test

    def train_dataloader(self) -> DataLoader[Batch]:
        """The counted stream, from where a resumed run stopped to the last step of the Trainer.

        Raises:
            ConfigError: The data is not set up; or the Trainer counts or limits epochs.
            CheckpointError: A resumed training would go on amid a step.
        """
        train = set_up(self._train)
        self.require_whole_steps()
        first, stop = self.start, self.last_sample()
        sampler = CountedSampler(first.sample, stop, self.batch_size, *self.shard(), first.batch)
        return self._loader(train, sampler)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """The held-out images; nothing when `val_fraction` is 0.

        Raises:
            ConfigError: The data is not set up; or `Trainer.validate` would have nothing to do.
        """
        set_up(self._train)
        if self._held_out is None and self.task() == "validate":
            raise ConfigError(
                "--data.val_fraction is 0, so no image is held out to validate on: give more."
            )
        return [] if self._held_out is None else self._eval_loader(self._held_out)

    def test_dataloader(self) -> DataLoader[Batch]:
        """The test images, each on one device."""
        return self._test_loader(set_up(self._test))

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The test images; after `setup("predict")`, without their masks."""
        return self._test_loader(set_up(self._predicted or self._test))

    def _test_loader(self, test: TestDataset) -> DataLoader[Batch]:
        module = None if self.trainer is None else self.trainer.lightning_module
        test.bits = getattr(module, "bits", None) or self._measure_bits()
        return self._eval_loader(test)

    def calibration_dataloader(self) -> DataLoader[Batch] | None:
        """The held-out images, first without synthetic defects, then those with one; None if there are none."""
        held_out = self._held_out
        if held_out is None:
            return None
        parts: list[Any] = [HeldOutDataset(held_out.images, held_out.paths, None)]
        if held_out.defects is not None:
            parts.append(Subset(held_out, range(1, len(held_out), 2)))
        return self._eval_loader(ConcatDataset(parts))

    def _eval_loader(self, dataset: Any) -> DataLoader[Batch]:
        world_size, rank = self.shard()
        if len(dataset) < world_size:
            raise ConfigError(
                f"--trainer.devices: {world_size} processes are more than the {len(dataset)} images "
                "to evaluate; use fewer."
            )
        return self._loader(dataset, ShardSampler(dataset, world_size, rank))

    def _loader(self, dataset: Dataset[Batch], sampler: Sampler[int]) -> DataLoader[Batch]:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        workers = self._workers()
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=workers,
            pin_memory=on_gpu,
            persistent_workers=workers > 0,
            worker_init_fn=partial(start_worker, loaded_plugins()),
        )

    def _workers(self) -> int:
        if self.num_workers is not None:
            return self.num_workers
        processes = 1 if self.trainer is None else self.trainer.num_devices
        return default_workers(self.image_size, self.batch_size, processes)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Paint the pairs of a training batch; bring the images of any other to [0, 1]."""
        if isinstance(batch, Tensor):  # the example input of a module
            return batch
        if "path" in batch:
            return batch | {"image": to_unit(batch["image"])}
        return paint_pairs(batch, self.synthesis)

    def pairs(self, start: int, n: int) -> dict[str, Tensor]:
        """The samples [start, start + n) of the training stream, as the model will see them.

        Returns:
            A training batch, as described above, on the CPU.
        """
        self.setup("validate")  # `fit` would start the stream anew
        train = set_up(self._train)
        batch = default_collate([train[index] for index in range(start, start + n)])
        with torch.no_grad():
            return paint_pairs(batch, self.synthesis)

    def stream_options(self) -> StreamOptions:
        """The options on which the samples depend."""
        own = {field.name: getattr(self, field.name) for field in fields(StreamOptions)}
        foreground = self.foreground if self.foreground in (None, OTSU) else "masks"
        return StreamOptions(**own | {"foreground": foreground})
