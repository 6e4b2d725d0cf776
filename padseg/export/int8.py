"""A network whose convolutions compute in 8-bit integers, with ranges taken from normal images."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from padseg.data.depth import ALL_BITS
from padseg.errors import count
from padseg.inference.images import load_rgb
from padseg.machine.console import say
from padseg.machine.progress import tracked

# Operations between logits and `score_map`.
_AFTER_LOGITS = ("Cast", "Clip", "MatMul", "Mul", "ReduceMean", "Resize", "Sigmoid", "Transpose")
_JOINING = ("Concat", "Max")  # the logits of several networks


def to_int8(model: bytes, images: Sequence[Path], bits: int = ALL_BITS) -> bytes:
    """Quantise the convolutions of an exported ONNX network, with weights quantised by output channel.

    Activations get the range that they have on the images (onnxruntime's static quantisation, QDQ). Weights use
    seven of the eight bits, because sums of eight overflow on x86 processors without VNNI.

    Everything else stays float32: pre-processing, normalisation, distances, output, and the convolutions
    that compute logits, whose range on normal images does not cover defects; also a teacher whose features
    are looked up in a memory. The change of the scores on the images is printed, because the thresholds
    remain those of the float32 network.

    Args:
        model: Output of `padseg.export.onnx`.
        images: Normal images, such as those of training; about twenty are enough.
        bits: Bits that the pixels of 16-bit images use.

    Raises:
        DataError: An image cannot be read.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._images = _read(tracked(images, "Ranges", len(images), transient=True), bits)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(self._images, None)

    with tempfile.TemporaryDirectory(prefix="padseg-") as folder:
        full, prepared, quantised = (Path(folder) / f"{n}.onnx" for n in ("full", "prepared", "q"))
        full.write_bytes(model)
        quant_pre_process(
            str(full), str(prepared), skip_optimization=True, skip_symbolic_shape=True
        )
        prepared_model = prepared.read_bytes()
        quantization.quantize_static(
            str(prepared),
            str(quantised),
            Reader(),
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=find_logits(prepared_model) + find_looked_up(prepared_model),
            per_channel=True,
            reduce_range=True,  # seven bits
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        content = quantised.read_bytes()
    _print_differences(model, content, images, bits)
    return content


def find_logits(model: bytes) -> list[str]:
    """The names of the convolutions that compute the logits of `score_map`; none if it comes from distances.

    Only a sigmoid, resizing, smoothing, a product with the distances, and the mean or the maximum of several
    networks lie between them and the map. Gates of attention end in a convolution of one channel and a sigmoid
    too, but convolutions follow them.
    """
    import onnx

    maker = {name: node for node in onnx.load_from_string(model).graph.node for name in node.output}
    waiting, names = ["score_map"], []
    while waiting:
        node = maker.get(waiting.pop())
        if node is None:
            continue
        if node.op_type == "Conv":
            names.append(node.name)
        elif node.op_type in _AFTER_LOGITS:
            waiting.append(node.input[0])
        elif node.op_type in _JOINING:
            waiting.extend(node.input)
    return names


def find_looked_up(model: bytes) -> list[str]:
    """The names of the convolutions before the choice of the nearest entry of a memory; none without one.

    The distances of normal images to their nearest entries are smaller than the error of 8 bits.
    """
    import onnx

    nodes = onnx.load_from_string(model).graph.node
    maker = {name: node for node in nodes for name in node.output}
    waiting = [name for node in nodes if node.op_type == "ArgMax" for name in node.input]
    names, seen = [], set[str]()
    while waiting:
        node = maker.get(name := waiting.pop())
        if node is None or name in seen:
            continue
        seen.add(name)
        waiting.extend(node.input)
        if node.op_type == "Conv":
            names.append(node.name)
    return names


def _read(paths: Iterable[Path], bits: int) -> Iterator[dict[str, NDArray[np.uint8]]]:
    for path in paths:
        yield {"image": np.asarray(load_rgb(path, bits))[None]}


def _print_differences(full: bytes, quantised: bytes, images: Sequence[Path], bits: int) -> None:
    """Print how far the scores differ, and how many verdicts do."""
    import onnxruntime

    sessions = [onnxruntime.InferenceSession(content) for content in (full, quantised)]
    names = [output.name for output in sessions[0].get_outputs()]
    moved, scores, changed = 0.0, [], 0
    for image in _read(tracked(images, "Comparing", len(images), transient=True), bits):
        before, after = (
            dict(zip(names, session.run(names, image), strict=True)) for session in sessions
        )
        moved = max(moved, float(np.abs(before["score_map"] - after["score_map"]).max()))
        scores.append((float(before["image_score"][0]), float(after["image_score"][0])))
        if "anomalous" in names:
            changed += int(before["anomalous"][0] != after["anomalous"][0])
    full_mean, int8_mean = np.mean(scores, axis=0)
    verdicts = count(changed, "verdict changes", "verdicts change")
    say(
        f"On {count(len(images), 'normal image')}, the score maps of INT8 and float32 differ by at most "
        f"{moved:.4g}; the mean image score is {int8_mean:.4g} instead of {full_mean:.4g}"
        f"{f'; {verdicts}' if 'anomalous' in names else ''}. Maps of defects can differ more: "
        "check some before you rely on the thresholds."
    )
