"""A simulated GPU, for machines without one.

Its tensors report `cuda:0` and compute on the CPU, with real values. As on a GPU, an operation on tensors
of two devices is refused, and NumPy cannot read them. What would be slow on a GPU is recorded: kernels
(each operation that is no view), the bytes they read, and every point at which the host waits for the
device, with the line of padseg that causes it.

    with SimulatedDevice() as device:
        module.to(CUDA)
        ...
    device.waits

To PyTorch's core the tensors are on the CPU, so that autograd asks no driver; only Python sees another device.
Therefore mixed precision is `torch.autocast("cpu")`, whose lists of operations differ from those of CUDA, and
which kernels are fused or chosen by CUDA is unknown. `Trainer(strategy=simulated_strategy())` trains on it.
"""

import traceback
from collections import Counter
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

import padseg
from padseg.modules.checkpoint import AtomicCheckpointIO

CUDA = torch.device("cuda", 0)
_OURS = str(Path(padseg.__file__).parent)
# Operations whose result the host must know.
_WAITING = {
    *(
        "_local_scalar_dense",
        "equal",
        "is_nonzero",
        "masked_select",
        "nonzero",
        "unique_consecutive",
    ),
    *("_unique2", "unique_dim", "repeat_interleave"),
}
# Those that only allocate.
_ALLOCATING = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}


class SimulatedTensor(Tensor):
    """A tensor of the simulated device, around its values."""

    values: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: Tensor) -> Self:
        new: SimulatedTensor = Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
        )
        new.values = values
        return new

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _Recorder.current.run(func, args, kwargs or {})

    @property
    def device(self) -> torch.device:
        return CUDA

    @property
    def is_cuda(self) -> bool:
        return True

    def to(self, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
        if isinstance(other := args[0] if args else kwargs.get("other"), Tensor):
            device, dtype, layout = other.device, other.dtype, None
        else:
            device, dtype, _, layout = torch._C._nn._parse_to(*args, **kwargs)
        options = {"dtype": dtype, "memory_format": layout}
        options = {name: option for name, option in options.items() if option is not None}
        if device is not None and device.type == "cpu":
            _Recorder.current.wait("copy to the host")
            return self.detach().values.to(copy=True, **options)
        return super().to(copy=copy, **options) if options or copy else self

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def cuda(self) -> Tensor:
        return self

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy.")

    __array__ = numpy

    def __repr__(self) -> str:
        return f"SimulatedTensor({tuple(self.shape)}, {self.dtype}, {CUDA})"

    def __deepcopy__(self, memo: Any) -> "SimulatedTensor":
        return SimulatedTensor(self.values.clone()).requires_grad_(self.requires_grad)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.cpu().__reduce_ex__(protocol)  # in a file


_tensor_to = Tensor.to


def _to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`Tensor.to` of the host, which does not see where its argument is."""
    if args and isinstance(args[0], SimulatedTensor):
        args = (CUDA, args[0].dtype, *args[1:])
    return _tensor_to(self, *args, **kwargs)


class _Recorder:
    """Runs operations on the values, and keeps the record."""

    current: "_Recorder"

    def __init__(self) -> None:
        self.waits: list[str] = []
        self.kernels: Counter[str] = Counter()
        self.bytes = 0

    def wait(self, why: str) -> None:
        hidden = (__file__, "_dynamo", "_compile.py")  # between the operation and its caller
        stack = [
            frame
            for frame in traceback.extract_stack()
            if not any(part in frame.filename for part in hidden)
        ]
        # The last line of padseg, or who else asks.
        ours = [frame for frame in stack if frame.filename.startswith(_OURS)] or stack
        place = Path(ours[-1].filename)
        self.waits.append(f"{why} ({place.parent.name}/{place.name}:{ours[-1].lineno})")

    def run(self, func, args, kwargs):
        name = func._schema.name.removeprefix("aten::")
        if torch.Tag.inplace_view in func.tags and name != "detach_":
            raise NotImplementedError(f"{name} would change the shape of a simulated tensor")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name in ("_to_copy", "copy_"):
            self._note_copy(name, args, kwargs)
        else:
            self._note_others(name, args, tensors)
            if name in _WAITING and kwargs.get("output_size") is None:
                self.wait(name)
        if not func.is_view and name not in _ALLOCATING:
            self.kernels[name] += 1
            self.bytes += sum(tensor.nbytes for tensor in tensors)
        return self._compute(func, args, kwargs, tensors)

    def _note_copy(self, name: str, args, kwargs) -> None:
        """Between the devices, where the host waits unless the copy is sent on its way."""
        source = args[1] if name == "copy_" else args[0]
        target = kwargs.get("device")
        arrives = isinstance(args[0], SimulatedTensor) if target is None else _is_cuda(target)
        non_blocking = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
        if isinstance(source, SimulatedTensor) and not arrives:
            self.wait("copy to the host")
        elif arrives and not isinstance(source, SimulatedTensor) and not non_blocking:
            self.wait("copy to the device")

    def _note_others(self, name: str, args, tensors: list[Tensor]) -> None:
        """Tensors of the host beside those of the device.

        Raises:
            RuntimeError: As on a GPU.
        """
        there = [tensor for tensor in tensors if not isinstance(tensor, SimulatedTensor)]
        indexes = name in ("index", "index_put", "index_put_", "_index_put_impl_")
        if indexes and isinstance(args[0], SimulatedTensor):
            indices = [leaf for leaf in tree_leaves(args[1]) if isinstance(leaf, Tensor)]
            if there or any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                self.wait(f"{name} by a mask or from the host")
        elif len(there) < len(tensors) and any(tensor.dim() for tensor in there):
            found = ", ".join(f"{tuple(tensor.shape)} on {tensor.device}" for tensor in tensors)
            raise RuntimeError(f"Expected all tensors to be on the same device: {name} of {found}")

    def _compute(self, func, args, kwargs, tensors: list[Tensor]):
        here = [tensor for tensor in tensors if isinstance(tensor, SimulatedTensor)]
        target = kwargs.get("device")
        stays = bool(here) if target is None else _is_cuda(target)
        if target is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        inner_args, inner_kwargs = tree_map_only(
            SimulatedTensor, lambda tensor: tensor.values, (args, kwargs)
        )
        found = func(*inner_args, **inner_kwargs)
        if func._schema.name == "aten::copy_":
            return args[0]
        if not stays:
            return found
        # What an operation in place returns is the tensor that it was given.
        given = {id(tensor.values): tensor for tensor in here}
        # In inference mode, a view of a tensor from outside is none of inference, either.
        from_outside = func.is_view and bool(here) and not here[0].is_inference()
        inference = torch.is_inference_mode_enabled() and not from_outside
        with torch.inference_mode(inference):
            return tree_map_only(
                Tensor,
                lambda tensor: (
                    given[id(tensor)] if id(tensor) in given else SimulatedTensor(tensor)
                ),
                found,
            )


def _is_cuda(device: Any) -> bool:
    return torch.device(device).type == "cuda"


class SimulatedDevice(TorchDispatchMode):
    """The device exists within `with SimulatedDevice() as device`; see the top of this file.

    Attributes:
        waits: Where the host waited, and why.
        kernels: How often each operation was launched.
        bytes: Bytes that they read.
    """

    def __init__(self) -> None:
        super().__init__()
        self._patch = pytest.MonkeyPatch()
        self.reset()

    def reset(self) -> None:
        """Start the record afresh."""
        self._recorder = _Recorder.current = _Recorder()

    @property
    def waits(self) -> list[str]:
        return self._recorder.waits

    @property
    def kernels(self) -> Counter[str]:
        return self._recorder.kernels

    @property
    def bytes(self) -> int:
        return self._recorder.bytes

    def __enter__(self) -> Self:
        self._patch.setattr("torch.cuda._lazy_init", lambda: None)
        self._patch.setattr(Tensor, "to", _to)
        # `torch.tensor` would otherwise move its values behind the back of the mode.
        torch._C._set_only_lift_cpu_tensors(True)
        # Else a module would keep its parameters, with the data of the device in them.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        return super().__enter__()

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        torch._C._set_only_lift_cpu_tensors(False)
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        self._patch.undo()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        device = kwargs.get("device")
        # Autograd makes gradients on what it takes for the device.
        in_backward = torch._C._current_autograd_node() is not None
        made_there = device is not None and (_is_cuda(device) or in_backward)
        if made_there:
            kwargs = {**kwargs, "device": CUDA}
        leaves = tree_leaves((args, kwargs))
        if made_there or any(isinstance(leaf, SimulatedTensor) for leaf in leaves):
            return self._recorder.run(func, args, kwargs)
        return func(*args, **kwargs)


class SimulatedAccelerator(CPUAccelerator):
    """What Lightning needs to know of the device."""

    def setup_device(self, device: torch.device) -> None:
        assert device == CUDA


def simulated_strategy(low_precision: bool = True) -> SingleDeviceStrategy:
    """The strategy of a Trainer that trains on the device."""
    return SingleDeviceStrategy(
        CUDA,
        accelerator=SimulatedAccelerator(),
        checkpoint_io=AtomicCheckpointIO(),
        precision_plugin=MixedPrecision("bf16-mixed", "cpu") if low_precision else None,
    )
