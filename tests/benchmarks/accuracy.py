"""Accuracy of anomalib's STFPM and PatchCore, by padseg's metrics.

    python -m venv /tmp/anomalib
    /tmp/anomalib/bin/pip install -r tests/benchmarks/requirements-anomalib.txt
    python tests/benchmarks/accuracy.py --peer-python /tmp/anomalib/bin/python --root mvtec_ad \\
        --weights resnet18.safetensors [--category bottle] [--image-size 256] [--steps 300] [--batch-size 8]

trains each with anomalib's own Engine, data module and defaults on a ResNet-18 with the given weights, which
is what a padseg system of the same `--weights` and `--model.image_size` can be compared with. STFPM takes
`--steps`, PatchCore one pass over the normal images. The score maps are then counted as those of
`padseg test`. EfficientAD needs weights that are only downloaded.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

PEERS = ("stfpm", "patchcore")


def predict(name: str, options: argparse.Namespace, out: Path) -> None:
    """Train an anomalib model and save its score maps; runs where anomalib is installed."""
    import timm
    from safetensors.torch import load_file

    create = timm.create_model

    def with_weights(*args: object, **settings: object) -> torch.nn.Module:
        network = create(*args, **(settings | {"pretrained": False}))
        if settings.get("pretrained"):  # the student starts at random
            found = network.load_state_dict(load_file(options.weights), strict=False)
            assert not found.missing_keys, found.missing_keys
        return network

    timm.create_model = with_weights

    from anomalib.data import MVTecAD
    from anomalib.engine import Engine
    from anomalib.models import Patchcore, Stfpm
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms.v2 import Compose, Normalize, Resize

    size = (options.image_size, options.image_size)
    normalize = Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    plain = {"evaluator": False, "visualizer": False}
    plain["pre_processor"] = PreProcessor(transform=Compose([Resize(size), normalize]))
    model = Stfpm(**plain) if name == "stfpm" else Patchcore(backbone="resnet18", **plain)
    length = {"max_steps": options.steps, "max_epochs": -1} if name == "stfpm" else {}
    batches = {"train_batch_size": options.batch_size, "eval_batch_size": options.batch_size}
    data = MVTecAD(options.root, options.category, num_workers=0, **batches)
    with tempfile.TemporaryDirectory() as folder:
        quiet = {"logger": False, "enable_progress_bar": False, "default_root_dir": folder}
        engine = Engine(limit_val_batches=0, num_sanity_val_steps=0, **quiet, **length)
        torch.manual_seed(0)
        engine.fit(model, datamodule=data)
        found = engine.predict(model, datamodule=data)
    np.savez(
        out,
        maps=torch.cat([batch.anomaly_map for batch in found]).float().cpu().numpy(),
        scores=torch.cat([batch.pred_score.flatten() for batch in found]).float().cpu().numpy(),
        paths=np.array([path for batch in found for path in batch.image_path]),
    )


def count(predicted: Path, options: argparse.Namespace) -> dict[str, float]:
    """padseg's metrics of the score maps."""
    from padseg.data.layouts import list_samples
    from padseg.data.masks import read_masks
    from padseg.metrics import ImageMetrics, PixelMetrics

    samples = {
        str(sample.path.resolve()): sample
        for sample in list_samples(options.root, options.category)
        if sample.split == "test"
    }
    image_metrics, pixel_metrics = ImageMetrics(), PixelMetrics()
    with np.load(predicted) as found:
        assert len(found["paths"]) == len(samples)
        for path, score_map, score in zip(
            found["paths"], found["maps"], found["scores"], strict=True
        ):
            sample = samples[str(Path(str(path)).resolve())]
            mask = read_masks(sample.masks, (options.image_size, options.image_size))
            score_map = torch.from_numpy(score_map).reshape(1, *mask.shape)
            pixel_metrics.update(score_map, torch.from_numpy(mask)[None])
            image_metrics.update(torch.tensor([score]), torch.tensor([sample.defect != "good"]))
    pixels = {name: float(value) for name, value in pixel_metrics.compute().items()}
    return {"image_auroc": float(image_metrics.compute()["image_auroc"])} | pixels


def main() -> None:
    """Train both, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="of a ResNet-18, .safetensors")
    parser.add_argument("--category", default="bottle")
    parser.add_argument("--image-size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--peer-python", default=sys.executable, help="one that has anomalib")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        predict(options.one[0], options, Path(options.one[1]))
        return
    table: Table | None = None
    with tempfile.TemporaryDirectory() as folder:
        for name in PEERS:
            predicted = Path(folder) / f"{name}.npz"
            command = [options.peer_python, __file__, "--one", name, str(predicted), *sys.argv[1:]]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            metrics = count(predicted, options)
            table = table or Table("anomalib", *metrics, box=None)
            table.add_row(name, *(f"{100 * value:.1f}" for value in metrics.values()))
    assert table is not None
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
