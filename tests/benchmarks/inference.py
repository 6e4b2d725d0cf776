"""Speed of inference: the five systems beside anomalib's STFPM, EfficientAD-S and PatchCore.

    python tests/benchmarks/inference.py                     # CPU, two threads
    python tests/benchmarks/inference.py --device cuda       # PyTorch's engines only

prints a Markdown table: milliseconds an image, in a batch of 1 (latency) and of 32 (throughput is the
inverse). Each contestant is a process. They take turns, so that a busy machine slows all of them alike: in
each round, each engine is called twice and the second call is timed; the fastest counts. `cpu` is the
processor's time: on a busy machine, with `--threads 1`, it tells what an idle one would need.

anomalib gets an environment of its own:

    python -m venv /tmp/anomalib
    /tmp/anomalib/bin/pip install -r tests/benchmarks/requirements-anomalib.txt \\
        nncf onnx onnxruntime onnxscript openvino
    python tests/benchmarks/inference.py --peer-python /tmp/anomalib/bin/python

All take uint8 images of 256x256 and normalise them. ONNX and OpenVINO networks are those of `padseg export`,
resizing included, and of anomalib's `Engine.export`; INT8 those of `--int8` and of anomalib's `INT8_PTQ`,
which is for OpenVINO alone. Weights are random, and so are TEDSeg's memories: that does not change the speed.
PatchCore, on a Wide ResNet-50, searches a memory bank of 21402 patches, a tenth of those of MVTec AD's 209
bottles. Decoding and resizing a PNG of 900x900 is counted separately.
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
DONE = "--- done"
Call = Callable[[np.ndarray], Any]


# --- contestants: (B, 256, 256, 3) uint8 in, score map and score out ------------------------------


def padseg(system: str) -> nn.Module:
    """The trained system's last phase, as `padseg export` takes it."""
    from padseg.export.network import Deployed
    from padseg.models import find_system
    from padseg.models.memory import Memory
    from padseg.modules import SegmentationModule, StudentDistillModule

    parts = find_system(system)
    second = {"weights2": "random"} if len(parts.teachers) > 1 else {}
    module = StudentDistillModule(system, weights="random", **second)
    for part in module.modules():
        if isinstance(part, Memory):
            nn.init.uniform_(part.entries)
    if parts.segmentation:
        weights = module.student_teacher.state_dict()
        module = SegmentationModule(network=module.network.to_dict())
        module.student_teacher.load_state_dict(weights)
    return Deployed(module)


class Peer(nn.Module):
    """An anomalib model, with the scaling of pixels that its users do."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> Any:
        return self.model(image.permute(0, 3, 1, 2).float() / 255)


def anomalib(name: str) -> nn.Module:
    import timm
    from anomalib.models import EfficientAd, Patchcore, Stfpm

    create = timm.create_model
    timm.create_model = lambda *args, **options: create(*args, **(options | {"pretrained": False}))
    if name == "anomalib-stfpm":
        return Peer(Stfpm())
    if name == "anomalib-efficientad-s":
        return Peer(EfficientAd())
    model = Patchcore()
    model.model.memory_bank = torch.randn(BANK)
    return Peer(model)


# --- engines: a network to a call -----------------------------------------------------------------


def torch_engine(network: nn.Module, engine: str, options: argparse.Namespace) -> Call:
    device = options.device
    network = network.to(device, memory_format=torch.channels_last)
    if engine == "compiled":
        network = torch.compile(network)

    def call(images: np.ndarray) -> None:
        with (
            torch.inference_mode(),
            torch.autocast(device, torch.bfloat16, enabled=engine == "bfloat16"),
        ):
            network(torch.from_numpy(images).to(device))
        if device == "cuda":
            torch.cuda.synchronize()

    return call


@cache
def export_padseg(network: nn.Module) -> bytes:
    from padseg.export.onnx import to_onnx

    return to_onnx(network, "{}")


def export_int8(network: nn.Module) -> bytes:
    from PIL import Image

    from padseg.export.int8 import to_int8

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.png" for index in range(len(blobs()))]
        for path, image in zip(paths, blobs(), strict=True):
            Image.fromarray(image).save(path)
        return to_int8(export_padseg(network), paths)


def blobs() -> np.ndarray:
    """Images whose ranges INT8 takes."""
    coarse = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    return coarse.repeat(SIZE // 16, axis=1).repeat(SIZE // 16, axis=2)


class Ranges:
    """As much of an anomalib data module as its INT8 export reads."""

    def setup(self, stage: str) -> None: ...

    def val_dataloader(self) -> Any:
        images = torch.from_numpy(as_float(blobs()))
        return torch.utils.data.DataLoader([{"image": image} for image in images])  # type: ignore[arg-type]


def export_peer(peer: Peer, kind: str, integers: bool, static: bool, folder: Path) -> Path:
    from anomalib.deploy import CompressionType
    from anomalib.engine import Engine

    path = Engine(accelerator="cpu", logger=False, default_root_dir=folder).export(
        peer.model,
        kind,
        export_root=folder,
        input_size=(SIZE, SIZE),
        compression_type=CompressionType.INT8_PTQ if integers else None,
        datamodule=Ranges() if integers else None,
        # PatchCore cannot be exported for a batch of any size.
        onnx_kwargs={"dynamic_axes": None} if static else None,
    )
    assert path is not None
    return Path(path)


def as_float(images: np.ndarray) -> np.ndarray:
    """(B, 3, H, W) float32 in [0, 1]."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def runtime_engine(network: nn.Module, engine: str, options: argparse.Namespace) -> Call:
    kind, _, integers = engine.partition("-")
    run = {"onnx": onnx_engine, "openvino": openvino_engine}[kind]
    if isinstance(network, Peer):
        with tempfile.TemporaryDirectory() as folder:
            static = options.batch == [1]
            path = export_peer(network, kind, bool(integers), static, Path(folder))
            call = run(path, options.threads)
        return lambda images: call(as_float(images))
    return run((export_int8 if integers else export_padseg)(network), options.threads)


def onnx_engine(model: bytes | Path, threads: int) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options)
    (given,) = session.get_inputs()
    return lambda images: session.run(None, {given.name: images})


def openvino_engine(model: bytes | Path, threads: int) -> Call:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    return core.compile_model(core.read_model(model), "CPU", settings)


ENGINES = ("onnx", "openvino", "onnx-int8", "openvino-int8", "eager", "bfloat16", "compiled")


def serve(name: str, options: argparse.Namespace) -> None:
    """Build a contestant's engines, then call each once a line of input; lines of JSON tell the times."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = (padseg if name in SYSTEMS else anomalib)(name).eval()
    calls: dict[str, Call] = {}
    for engine in options.engine:
        if engine == "onnx-int8" and name in PEERS:
            continue
        exported = engine.startswith(("onnx", "openvino"))
        try:
            calls[engine] = (runtime_engine if exported else torch_engine)(network, engine, options)
        except Exception as error:  # noqa: BLE001 - a peer that cannot be exported still runs in the others
            reason = str(error).strip().splitlines()[0][:100]
            print(json.dumps({"engine": engine, "failed": reason}), flush=True)  # noqa: T201
    print(DONE, flush=True)  # noqa: T201
    for _ in sys.stdin:
        for engine, call in calls.items():
            for batch in options.batch:
                told = {"engine": engine, "batch": batch, "ms": measure(call, batch)}
                print(json.dumps(told), flush=True)  # noqa: T201
        print(DONE, flush=True)  # noqa: T201


def measure(call: Call, batch: int) -> tuple[float, float]:
    """Milliseconds an image, by the clock and of the processor."""
    images = np.random.default_rng(0).integers(0, 256, (batch, SIZE, SIZE, 3), dtype=np.uint8)
    call(images)
    start, before = time.perf_counter(), time.process_time()
    call(images)
    times = time.perf_counter() - start, time.process_time() - before
    return 1000 * times[0] / batch, 1000 * times[1] / batch


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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-python", default=sys.executable, help="one that has anomalib")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        serve(options.one, options)
        return
    options.engine = [engine for engine in options.engine if _possible(options.device, engine)]
    print(  # noqa: T201
        f"Decoding and resizing a PNG: {decoding(options.rounds):.1f} ms. "
        f"Load at the start: {os.getloadavg()[0]:.1f}.\n"
    )
    contestants = [Contestant(name, options) for name in options.only]
    for contestant in contestants * options.rounds:
        contestant.take_turn()
    heads = [f"batch {batch}, {kind}" for batch in options.batch for kind in ("ms", "cpu ms")]
    _line("contestant", "engine", *heads)
    _line(*["---"] * (2 + len(heads)))
    for contestant in contestants:
        contestant.process.communicate()
        for engine in options.engine:
            pairs = [contestant.best.get((engine, batch)) for batch in options.batch]
            cells = [f"{ms:.1f}" for pair in pairs if pair for ms in pair]
            cells += contestant.failed.get(engine, [])
            if cells:
                _line(contestant.name, engine, *cells)
    print(f"\nLoad at the end: {os.getloadavg()[0]:.1f}.")  # noqa: T201


class Contestant:
    """A process that waits for its turns."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name = name
        self.best: dict[tuple[str, int], list[float]] = {}
        self.failed: dict[str, list[str]] = {}
        command = [sys.executable if name in SYSTEMS else options.peer_python, __file__]
        command += ["--one", name, "--device", options.device, "--threads", str(options.threads)]
        command += ["--batch", *map(str, options.batch), "--engine", *options.engine]
        path = [str(Path(__file__).parents[2])] if name in SYSTEMS else []
        environment = os.environ | {
            "OMP_NUM_THREADS": str(options.threads),
            "PYTHONPATH": os.pathsep.join(path),
        }
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.process = subprocess.Popen(command, env=environment, **pipes)
        self._read()

    def take_turn(self) -> None:
        print(file=self.process.stdin)
        self._read()

    def _read(self) -> None:
        for line in self.process.stdout:
            if line.startswith(DONE):
                return
            if not line.startswith('{"engine"'):
                continue  # what a library has printed
            told = json.loads(line)
            if "failed" in told:
                self.failed[told["engine"]] = ["failed: " + told["failed"]]
                continue
            key = told["engine"], told["batch"]
            before = self.best.get(key, told["ms"])
            self.best[key] = [min(pair) for pair in zip(before, told["ms"], strict=True)]
        raise SystemExit(f"{self.name} has ended with status {self.process.wait()}")


def _possible(device: str, engine: str) -> bool:
    if engine == "bfloat16" and device == "cpu":
        # Without these instructions a CPU emulates it, several times slower than float32.
        from padseg.machine.precision import cpu_has_bfloat16

        return cpu_has_bfloat16()
    return device == "cpu" or not engine.startswith(("onnx", "openvino"))


def _line(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
