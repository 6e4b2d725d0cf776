"""The data of one category as a LightningDataModule."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, default_collate

from padseg.data.augment import CATEGORY_GROUPS, normal_augmentation, texture_jitter
from padseg.data.check import check_duplicates, check_files, refuse_blocking
from padseg.data.datasets import (
    CountedSampler,
    DefectSource,
    HeldOutDataset,
    ShardSampler,
    TestDataset,
    TrainDataset,
    paint_pairs,
    to_unit,
)
from padseg.data.foreground import OTSU, Foreground, find_foreground
from padseg.data.images import ImageCache, as_size
from padseg.data.layouts import list_samples
from padseg.data.samples import Sample, list_textures, split_held_out
from padseg.data.workers import default_workers, forks
from padseg.errors import ConfigError, DataError
from padseg.names import AUGMENTATIONS, AugmentationGroup, AugmentationName, LayoutName
from padseg.options import check_seed, one_of, plain, refuse_others
from padseg.synthesis import SynthesisParams

_log = logging.getLogger(__name__)
_DEFAULT_SYNTHESIS = SynthesisParams()


class AnomalyDataModule(LightningDataModule):
    """Normal images, synthetic pairs made from them, and the test images of one category.

    Training batches are pairs, painted on the device by `on_after_batch_transfer`: `clean` and
    `corrupted` (B, 3, H, W) float32 in [0, 1], `mask` (B, 1, H, W) float32 in {0, 1}, `texture` like
    the images; `clean` alone without synthesis. Validation, test and prediction batches hold `image`
    (B, 3, H, W) float32 in [0, 1], `mask` (B, 1, H, W) uint8, `regions` (B, 1, H, W) int32, `label`
    (B,) bool, `index` (B,) int64 and `path`, a list.

    Validation sees held-out normal images and synthetic defects only; the test set is scored by `test`
    and `predict` alone. `fit` compares sizes and bytes of its files, to refuse images on both sides.

    Args:
        root: Folder of the data set.
        category: Its category, a folder in `root`.
        textures: Folder of texture images that defects are painted with, such as `dtd/images`.
            Required unless `synthesis` is null.
        image_size: Height and width in pixels, or one number for both.
        batch_size: Images a step, on each device.
        seed: Of all draws.
        val_fraction: Share of the normal training images that is held out for validation; 0 trains on
            all, as the papers do, and does not validate. A data set with validation images of its own
            holds out those instead.
        augmentation: Of normal images: a group of DeSTSeg's lists, or `auto` for the category's own in the
            layout `mvtec` (`none` for other layouts and for a category that is not in MVTec AD).
        jitter_textures: Whether textures get DRAEM's colour and geometry operators; DeSTSeg: no.
        synthesis: How defects are drawn; null for systems that train on normal images only.
        num_workers: Data worker processes; null for as many as pay off, none on a small machine, and as
            the shared memory has room for, which is small in a container.
        cache_limit_mb: Above this many MiB, decoded images lie in a memory-mapped temporary file; textures,
            training and held-out images count by themselves. All do that worker processes read which
            are not forked, as each would get a copy.
        layout: Of the data set folder, see `padseg.data.layouts`.
        foreground: Keeps synthetic defects on the object: `otsu` finds it by a threshold; else a folder
            that mirrors `root` with a mask for each normal image, white on the object. Null lets them lie
            anywhere. A defect that misses the object leaves its sample clean; `synthesis.retries` draws
            further ones.
    """

    def __init__(
        self,
        root: str,
        category: str,
        textures: str | None = None,
        image_size: int | tuple[int, int] = 256,
        batch_size: int = 32,
        seed: int = 0,
        val_fraction: float = 0.1,
        augmentation: AugmentationName = "auto",
        jitter_textures: bool = False,
        synthesis: SynthesisParams | None = _DEFAULT_SYNTHESIS,
        num_workers: int | None = None,
        cache_limit_mb: float = 4096,
        layout: LayoutName = "mvtec",
        foreground: str | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ConfigError(f"--data.batch_size is {batch_size}; it must be at least 1.")
        if not 0 <= val_fraction < 1:
            raise ConfigError(f"--data.val_fraction is {val_fraction}; it must be in [0, 1).")
        check_seed("--data.seed (of fit, --seed_everything)", seed)
        if num_workers is not None and num_workers < 0:
            raise ConfigError(f"--data.num_workers is {num_workers}; it must not be negative.")
        one_of("--data.augmentation", augmentation, AUGMENTATIONS)
        if foreground is not None and foreground != OTSU and not Path(foreground).is_dir():
            raise ConfigError(f"--data.foreground is {foreground}; it must be otsu or a folder.")
        self.root = Path(root).expanduser()
        self.category = category
        self.textures = None if textures is None else Path(textures).expanduser()
        self.image_size = as_size(image_size)
        self.batch_size = batch_size
        self.seed = seed
        self.val_fraction = val_fraction
        self.augmentation = augmentation
        self.jitter_textures = jitter_textures
        self.synthesis = synthesis
        self.num_workers = num_workers
        self.cache_limit_mb = cache_limit_mb
        self.layout = layout
        self.foreground = foreground
        # Where the stream stood when training began or went on.
        self._start = _Position()
        self._train: TrainDataset | None = None
        self._held_out: HeldOutDataset | None = None
        # Whether the data set has validation images, which are never trained on.
        self._own_validation = False
        self._test: TestDataset | None = None

    def setup(self, stage: str | None = None) -> None:
        """List and check the category, and decode the images that the stage trains or validates on.

        Raises:
            DataError: Something is missing or broken, or would spoil results; the message names it.
        """
        samples = list_samples(self.root, self.category, self.layout)
        if stage == "fit":
            self._start = _Position()  # a resumed training sets it after this
        if stage in ("fit", "validate", None) and self._train is None:
            refuse_blocking(check_files([s for s in samples if s.split != "test"]))
            refuse_blocking(check_duplicates(samples))
            self._setup_train(samples)
        if stage in ("test", "predict", None) and self._test is None:
            self._test = TestDataset(self.check_test(samples), self.image_size)

    def _setup_train(self, samples: Sequence[Sample]) -> None:
        defects = None
        if self.synthesis is not None:
            if self.textures is None:
                raise DataError(
                    "no textures to paint defects with: --data.textures (of preview, --textures) names "
                    "their folder, such as dtd/images."
                )
            cache = self._cache(list_textures(self.textures), "Decoding textures")
            jitter = texture_jitter() if self.jitter_textures else None
            defects = DefectSource(cache, self.synthesis, jitter)
        train = [sample.path for sample in samples if sample.split == "train"]
        held_out = [sample.path for sample in samples if sample.split == "validation"]
        self._own_validation = bool(held_out)
        if self.val_fraction == 0:
            held_out = []
        elif not held_out:
            train, held_out = split_held_out(train, self.val_fraction)
        group: AugmentationGroup = (
            # By name: of another data set, a `screw` may be a part whose place tells what is wrong.
            CATEGORY_GROUPS.get(self.category if self.layout == "mvtec" else "", "none")
            if self.augmentation == "auto"
            else self.augmentation
        )
        images = self._cache(train, f"Decoding {self.category}")
        self._train = TrainDataset(
            images,
            normal_augmentation(group, self.image_size),
            defects,
            self.seed,
            self._foreground(images, train),
        )
        if held_out:
            images = self._cache(held_out, f"Decoding {self.category}, held out")
            self._held_out = HeldOutDataset(
                images,
                [str(path) for path in held_out],
                defects,
                self._foreground(images, held_out),
            )

    def _cache(self, paths: Sequence[Path], description: str) -> ImageCache:
        limit = 0 if self.num_workers != 0 and not forks() else self.cache_limit_mb
        return ImageCache(paths, self.image_size, limit, description)

    def _foreground(self, images: ImageCache, paths: Sequence[Path]) -> Foreground | None:
        if self.foreground is None or self.synthesis is None:
            return None
        return find_foreground(self.foreground, images, paths, self.root, self.image_size)

    def check_test(
        self, samples: Sequence[Sample] | None = None, *, decoded: bool = False
    ) -> list[Sample]:
        """The test samples, once every file was looked at; see `padseg.data.check`.

        Args:
            samples: What the root lists; None to list it.
            decoded: Whether to decode the images instead of reading their headers.

        Raises:
            DataError: There is none, a file cannot be read, a mask is missing, empty or of another size
                than its image, or an image is trained on too; the message names every file.
        """
        if samples is None:
            samples = list_samples(self.root, self.category, self.layout)
        test = [sample for sample in samples if sample.split == "test"]
        if not test:
            raise DataError(
                f"{self.root / self.category} holds no test images: add some, or train with `padseg "
                "fit`, which needs none."
            )
        refuse_blocking(
            [
                *check_files(test, masks_optional=self.layout == "folder", decoded=decoded),
                *check_duplicates(samples),
            ]
        )
        return test

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The counted stream, from where a resumed run stopped to the last step of the Trainer.

        Raises:
            ConfigError: The Trainer counts epochs, or cuts them short.
        """
        assert self._train is not None
        trainer, stop = self.trainer, None
        limit = getattr(trainer, "limit_train_batches", 1.0)  # 1 is one batch, 1.0 all
        whole = isinstance(limit, float) and limit == 1
        if not whole and not getattr(trainer, "fast_dev_run", False):
            raise ConfigError(
                "--trainer.limit_train_batches and overfit_batches would give the same samples again and "
                "again: set --trainer.max_steps instead."
            )
        if trainer is not None and trainer.max_steps > 0:
            stop = self._position_at(trainer.max_steps).sample
        elif trainer is not None and trainer.max_epochs != -1:
            raise ConfigError(
                "the stream of samples has no epochs: give Trainer(max_steps=N) instead of max_epochs."
            )
        world_size, rank = self._shard()
        sampler = CountedSampler(
            self._start.sample, stop, self.batch_size, world_size, rank, self._start.batch
        )
        return self._loader(self._train, sampler)

    def val_dataloader(self) -> DataLoader[dict[str, Any]] | list[Any]:
        """The held-out images; nothing when `val_fraction` is 0.

        Raises:
            ConfigError: `Trainer.validate` would do nothing.
        """
        if self._held_out is None and self._task() == "validate":
            raise ConfigError(
                "--data.val_fraction is 0: no image is held out, there is nothing to validate on."
            )
        return [] if self._held_out is None else self._eval_loader(self._held_out)

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The test images, each on one device."""
        assert self._test is not None
        return self._eval_loader(self._test)

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The test images."""
        return self.test_dataloader()

    def calibration_dataloader(self) -> DataLoader[dict[str, Any]] | None:
        """The held-out images as they are, then those with a synthetic defect; None without any."""
        held_out = self._held_out
        if held_out is None:
            return None
        parts: list[Any] = [HeldOutDataset(held_out.images, held_out.paths, None)]
        if held_out.defects is not None:
            parts.append(Subset(held_out, range(1, len(held_out), 2)))
        return self._eval_loader(ConcatDataset(parts))

    def _eval_loader(self, dataset: Any) -> DataLoader[dict[str, Any]]:
        world_size, rank = self._shard()
        if len(dataset) < world_size:
            raise ConfigError(
                f"--trainer.devices: {world_size} processes are more than the {len(dataset)} images "
                "to evaluate; use fewer."
            )
        return self._loader(dataset, ShardSampler(dataset, world_size, rank))

    def _loader(
        self, dataset: Dataset[dict[str, Any]], sampler: CountedSampler | ShardSampler
    ) -> DataLoader[dict[str, Any]]:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        workers = self._workers()
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=workers,
            pin_memory=on_gpu,
            persistent_workers=workers > 0,
        )

    def _workers(self) -> int:
        """Of each process."""
        if self.num_workers is not None:
            return self.num_workers
        processes = 1 if self.trainer is None else self.trainer.num_devices
        return default_workers(self.image_size, self.batch_size, processes)

    def _task(self) -> str | None:
        """What the Trainer does: fit, validate, test or predict."""
        return None if self.trainer is None else self.trainer.state.fn

    def _shard(self) -> tuple[int, int]:
        """(processes, this process's rank)."""
        trainer = self.trainer
        return (1, 0) if trainer is None else (trainer.world_size, trainer.global_rank)

    def _position_at(self, step: int) -> "_Position":
        """Where a step begins, from where the stream went on."""
        trainer = self.trainer
        assert trainer is not None
        batches = (step - self._start.step) * trainer.accumulate_grad_batches
        samples = batches * self.batch_size * trainer.world_size
        return _Position(self._start.sample + samples, step, self._start.batch + batches)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Paint the pairs of a training batch; bring the images of any other to [0, 1]."""
        if "path" in batch:
            return batch | {"image": to_unit(batch["image"])}
        return paint_pairs(batch, self.synthesis)

    def pairs(self, start: int, n: int) -> dict[str, Tensor]:
        """The samples [start, start + n) of the training stream, as the model will see them.

        Returns:
            A training batch, as described above, on the CPU.
        """
        if self._train is None:
            self.setup("fit")
        assert self._train is not None
        batch = default_collate([self._train[index] for index in range(start, start + n)])
        with torch.no_grad():
            return paint_pairs(batch, self.synthesis)

    @property
    def first_sample(self) -> int:
        """Of the stream, that the training begins or goes on with."""
        return self._start.sample

    def begin_after(self, before: Mapping[str, Any]) -> None:
        """Let the next training go on in the stream of the phase before.

        Args:
            before: The `state_dict` of that phase's data module.

        Raises:
            ConfigError: That phase had another category, or trained on images that are held out now.
        """
        options, now = before.get("options", {}), self._options()
        for name in ("category", "layout"):
            if options.get(name, now[name]) != now[name]:
                raise ConfigError(
                    f"--model.distilled was trained with --data.{name} {options[name]}, not {now[name]}: "
                    "give the checkpoint of phase one that saw the same images."
                )
        self._refuse_seen(options, "--model.distilled")
        self._start = _Position(before.get("next_sample", 0))

    def _refuse_seen(self, before: Mapping[str, Any], whose: str) -> None:
        now = self.val_fraction
        if not self._own_validation and before.get("val_fraction", 1) < now:
            raise ConfigError(
                f"{whose} was trained with --data.val_fraction {before['val_fraction']}, not {now}: "
                "images that it was trained on are not held out; pass the same."
            )

    def state_dict(self) -> dict[str, Any]:
        """How many samples were used, so that a resumed run goes on with the next one."""
        trainer = self.trainer
        step = 0 if trainer is None else trainer.global_step
        position = self._position_at(step) if step else self._start
        return {
            "next_sample": position.sample,
            "step": position.step,
            "batches": position.batch,
            "options": plain(self._options()),
        }

    def _options(self) -> dict[str, Any]:
        """What the samples depend on; folders may move."""
        return {
            "category": self.category,
            "layout": self.layout,
            "seed": self.seed,
            "val_fraction": self.val_fraction,
            "augmentation": self.augmentation,
            "jitter_textures": self.jitter_textures,
            "foreground": self.foreground if self.foreground in (None, OTSU) else "masks",
            "synthesis": None if self.synthesis is None else asdict(self.synthesis),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the checkpoint was written.

        Raises:
            CheckpointError: It was with other samples.
            ConfigError: In a validation, it was with some that are held out now.
        """
        before, task = state_dict.get("options", {}), self._task()
        if task == "fit":
            refuse_others("data", before, self._options())
        elif before.get("category", self.category) != self.category:
            _log.warning(
                "The checkpoint was trained on category %s, not %s.",
                before["category"],
                self.category,
            )
        if task == "validate":
            self._refuse_seen(before, "the checkpoint")
        sample, step = int(state_dict["next_sample"]), int(state_dict["step"])
        self._start = _Position(sample, step, int(state_dict.get("batches", step)))


class _Position(NamedTuple):
    """A place in the stream: the next sample, and the steps and batches of a process before it."""

    sample: int = 0
    step: int = 0
    batch: int = 0
