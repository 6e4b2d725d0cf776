"""Speed of inference: the five systems beside anomalib's STFPM, EfficientAD-S and PatchCore.

    python tests/benchmarks/inference.py                     # CPU, two threads
    python tests/benchmarks/inference.py --device cuda       # PyTorch's engines only

prints a Markdown table: milliseconds an image, in a batch of 1 (latency) and of 32 (throughput is the
inverse). Each contestant runs in a process of its own, each engine is timed up to `--repeat` times, of which
the fastest counts, at least once and for `--seconds` at most. `cpu` is the processor's time of
the process in the same calls: on a busy machine, with `--threads 1`, it tells what an idle one would need.

anomalib gets an environment of its own:

    python -m venv /tmp/anomalib
    /tmp/anomalib/bin/pip install -r tests/benchmarks/requirements-anomalib.txt \\
        onnx onnxruntime onnxscript openvino
    python tests/benchmarks/inference.py --peer-python /tmp/anomalib/bin/python

All take uint8 images of 256x256 and normalise them; padseg's ONNX and OpenVINO networks are those of
`padseg export`, resizing included, with `--int8` for the engines of that name, which anomalib's do not have.
Weights are random, and TEDSeg's memories empty: that does not change the speed. PatchCore, on a Wide
ResNet-50, searches a memory bank of 21402 patches, a tenth of those of MVTec AD's 209 bottles. Decoding
and resizing a PNG of 900x900 is counted separately.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

SIZE = 256
SYSTEMS = ("stpm", "rstpm", "destseg", "pfadseg", "tedseg")
PEERS = ("anomalib-stfpm", "anomalib-efficientad-s", "anomalib-patchcore")
BANK = (21402, 1536)
Call = Callable[[np.ndarray], Any]


# --- contestants: (B, 256, 256, 3) uint8 in, score map and score out ------------------------------


def padseg(system: str) -> nn.Module:
    """The trained system's last phase, as `padseg export` takes it."""
    from padseg.export.network import Deployed
    from padseg.models import find_system
    from padseg.modules import SegmentationModule, StudentDistillModule

    parts = find_system(system)
    second = {"weights2": "random"} if len(parts.teachers) > 1 else {}
    module = StudentDistillModule(system, weights="random", **second)
    if parts.segmentation:
        module = SegmentationModule(network=module.network.to_plain())
    return Deployed(module)


class Peer(nn.Module):
    """An anomalib network behind the normalisation that its pre-processor does."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", 255 * torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.network((image.permute(0, 3, 1, 2).float() - self.mean) / self.std)
        return {"score_map": found.anomaly_map, "image_score": found.pred_score}


def anomalib(name: str) -> nn.Module:
    import timm

    create = timm.create_model
    timm.create_model = lambda *args, **options: create(*args, **(options | {"pretrained": False}))
    if name == "anomalib-stfpm":
        from anomalib.models.image.stfpm.torch_model import STFPMModel

        return Peer(STFPMModel(layers=["layer1", "layer2", "layer3"]))
    if name == "anomalib-efficientad-s":
        from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel

        return Peer(EfficientAdModel())
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    network = PatchcoreModel(layers=["layer2", "layer3"], backbone="wide_resnet50_2")
    network.memory_bank = torch.randn(BANK)
    return Peer(network)


# --- engines: a network to a call -----------------------------------------------------------------


def torch_engine(network: nn.Module, device: str, kind: str) -> Call:
    network = network.to(device, memory_format=torch.channels_last)
    if kind == "compiled":
        network = torch.compile(network)

    def call(images: np.ndarray) -> None:
        with (
            torch.inference_mode(),
            torch.autocast(device, torch.bfloat16, enabled=kind == "bfloat16"),
        ):
            network(torch.from_numpy(images).to(device))
        if device == "cuda":
            torch.cuda.synchronize()

    return call


@cache
def onnx_bytes(network: nn.Module) -> bytes:
    if not isinstance(network, Peer):
        from padseg.export.onnx import to_onnx

        return to_onnx(network, "{}")
    example = torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8)
    axes = ({0: torch.export.Dim("batch")},)
    with torch.no_grad():
        exported = torch.onnx.export(network, (example,), dynamic_shapes=axes, verbose=False)
    return exported.model_proto.SerializeToString()


def int8_bytes(network: nn.Module) -> bytes:
    from PIL import Image

    from padseg.export.int8 import to_int8

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.png" for index in range(4)]
        for path in paths:
            coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
            coarse.resize((SIZE, SIZE)).save(path)
        return to_int8(onnx_bytes(network), paths)


def onnx_engine(content: bytes, threads: int) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options)
    return lambda images: session.run(None, {"image": images})


def openvino_engine(content: bytes, threads: int) -> Call:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    return core.compile_model(core.read_model(content), "CPU", settings)


ENGINES = ("onnx", "openvino", "onnx-int8", "openvino-int8", "eager", "bfloat16", "compiled")


def run_one(name: str, options: argparse.Namespace) -> None:
    """Time a contestant in each engine; a line of JSON an engine."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = (padseg if name in SYSTEMS else anomalib)(name).eval()
    for engine in options.engine:
        runtime, _, integers = engine.partition("-")
        if integers and name in PEERS:
            continue
        try:
            if runtime in ("onnx", "openvino"):
                make = onnx_engine if runtime == "onnx" else openvino_engine
                content = (int8_bytes if integers else onnx_bytes)(network)
                call = make(content, options.threads)
            else:
                call = torch_engine(network, options.device, engine)
            found = [measure(call, batch, options) for batch in options.batch]
        except Exception as error:  # noqa: BLE001 - a peer that cannot be exported still runs in the others
            told = {"engine": engine, "failed": str(error).strip().splitlines()[0][:100]}
        else:
            told = {"engine": engine, "found": found}
        print(json.dumps(told), flush=True)  # noqa: T201


def measure(call: Call, batch: int, options: argparse.Namespace) -> tuple[float, float]:
    """Milliseconds an image, by the clock and of the processor."""
    images = np.random.default_rng(0).integers(0, 256, (batch, SIZE, SIZE, 3), dtype=np.uint8)
    call(images)
    clock, busy = [], []
    while not clock or (len(clock) < options.repeat and sum(clock) < options.seconds):
        start, before = time.perf_counter(), time.process_time()
        call(images)
        clock.append(time.perf_counter() - start)
        busy.append(time.process_time() - before)
    return 1000 * min(clock) / batch, 1000 * min(busy) / batch


def decoding(repeat: int) -> float:
    """Milliseconds to decode a PNG of 900x900 and to resize it with Pillow."""
    from PIL import Image

    coarse = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((900, 900)).save(file, "PNG")
    times = []
    for _ in range(max(3, repeat)):
        start = time.process_time()
        np.asarray(Image.open(file).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        times.append(time.process_time() - start)
    return 1000 * min(times)


def main() -> None:
    """Run every contestant in every engine and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=(*SYSTEMS, *PEERS), default=[*SYSTEMS, *PEERS])
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20, help="for one measurement")
    parser.add_argument("--peer-python", default=sys.executable, help="one that has anomalib")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_one(options.one, options)
        return
    options.engine = [engine for engine in options.engine if _possible(options.device, engine)]
    print(  # noqa: T201
        f"Decoding and resizing a PNG: {decoding(options.repeat):.1f} ms. "
        f"Load at the start: {os.getloadavg()[0]:.1f}.\n"
    )
    heads = [f"batch {batch}, {kind}" for batch in options.batch for kind in ("ms", "cpu ms")]
    _line("contestant", "engine", *heads)
    _line(*["---"] * (2 + len(heads)))
    for name in options.only:
        _run(name, options)
    print(f"\nLoad at the end: {os.getloadavg()[0]:.1f}.")  # noqa: T201


def _possible(device: str, engine: str) -> bool:
    if engine == "bfloat16" and device == "cpu":
        # Without these instructions a CPU emulates it, several times slower than float32.
        from padseg.machine.precision import cpu_has_bfloat16

        return cpu_has_bfloat16()
    return device == "cpu" or not engine.startswith(("onnx", "openvino"))


def _run(name: str, options: argparse.Namespace) -> None:
    command = [sys.executable if name in SYSTEMS else options.peer_python, __file__, "--one", name]
    command += ["--batch", *map(str, options.batch), "--engine", *options.engine]
    for option in ("device", "threads", "repeat", "seconds"):
        command += [f"--{option}", str(getattr(options, option))]
    path = [str(Path(__file__).parents[2])] if name in SYSTEMS else []
    environment = os.environ | {
        "OMP_NUM_THREADS": str(options.threads),
        "PYTHONPATH": os.pathsep.join(path),
    }
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith('{"engine"'):
                told = json.loads(line)
                cells = [f"{value:.1f}" for pair in told.get("found", []) for value in pair]
                cells += ["failed: " + told["failed"]] if "failed" in told else []
                _line(name, told["engine"], *cells)
        errors = process.stderr.read()
    if process.returncode:
        _line(name, "failed: " + (errors.strip().splitlines() or ["?"])[-1][:100])


def _line(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
