"""Checkpoints: read without trusting them, and written atomically.

A checkpoint holds tensors and plain types only and is read with `weights_only=True`. It is complete:
teacher, student and, after phase two, segmentation network, with the options that rebuild them.
"""

import io
import logging
import pickle
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from padseg.errors import CheckpointError
from padseg.machine.files import expanded, file_state, require_writable, write_bytes
from padseg.metrics.calibration import Calibration
from padseg.models import SYSTEMS, Teacher
from padseg.modules.header import FORMAT_VERSION, HEADER_KEY, Header

_log = logging.getLogger(__name__)
Checkpoint = dict[str, Any]  # as Lightning writes it, with the header under HEADER_KEY
_TENSORS = ("state_dict", "optimizer_states")
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"  # the formats of torch since 1.6, and before


def read_header(path: str | Path) -> Header:
    """Read what a checkpoint says about itself, without reading its tensors.

    Raises:
        CheckpointError: As `read_checkpoint`.
    """
    path = expanded(path)
    return _read_header(path, file_state(path))


@lru_cache(maxsize=4)  # parsing the arguments asks for a checkpoint's class, then for its options
def _read_header(path: Path, state: tuple[int, int, int] | None) -> Header:
    return _header(_load(path, mmap=True), path)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read one of padseg's checkpoints on the CPU.

    Returns:
        Lightning's checkpoint dict; `Header.from_checkpoint` reads its header.

    Raises:
        CheckpointError: The file is missing, damaged, contains code, or is not from padseg.
    """
    checkpoint = _load(expanded(path), mmap=False)
    _header(checkpoint, path)
    return checkpoint


def _load(path: Path, mmap: bool) -> Checkpoint:
    if path.is_dir():
        example = max(path.glob("*.ckpt"), default=Path("segment.ckpt"))
        raise CheckpointError(
            f"checkpoint {path} is a folder: name a file in it, such as {example.name}."
        )
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist.")
    if path.stat().st_size == 0:
        raise CheckpointError(f"checkpoint {path} is empty (0 bytes): train again.")
    with path.open("rb") as file:
        begin = file.read(len(_ZIP))
    if not begin.startswith((_ZIP, _PICKLE)):
        raise _foreign(path)
    try:
        # torch maps only files of the newer format.
        checkpoint = torch.load(
            path, map_location="cpu", weights_only=True, mmap=mmap and begin == _ZIP
        )
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"checkpoint {path} is refused: it holds something other than tensors and plain values, "
            "which could run code when it is loaded."
        ) from error
    except Exception as error:  # torch raises nearly any exception on a damaged file
        if "locating file data.pkl" in str(error):  # a sound archive of something else
            raise _foreign(path) from error
        raise CheckpointError(
            f"checkpoint {path} is damaged ({_first_sentence(error)}): restore it, or remove it and train again."
        ) from error
    if not isinstance(checkpoint, dict) or HEADER_KEY not in checkpoint:
        raise _foreign(path)
    return checkpoint


def _header(checkpoint: Checkpoint, path: str | Path) -> Header:
    try:
        check_format(checkpoint, f"checkpoint {path}")
        return Header.from_checkpoint(checkpoint)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"checkpoint {path} is damaged ({type(error).__name__}: {_first_sentence(error)}): restore it, "
            "or remove it and train again."
        ) from error


def check_format(checkpoint: Checkpoint, what: str) -> None:
    """Reject a checkpoint, `what` in the message, whose format this version of padseg cannot read.

    Raises:
        CheckpointError: It is of another format.
    """
    own = checkpoint[HEADER_KEY]
    if own["format"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{what} has format {own['format']}, but this padseg reads {FORMAT_VERSION}: use padseg "
            f"{own['version']}, which wrote it."
        )


def own_header(checkpoint: Checkpoint, class_name: str, system: str) -> Header:
    """The header of a checkpoint that Lightning has read for an existing module of this class and system.

    Raises:
        CheckpointError: The checkpoint is not padseg's, of another format, or another module's.
    """
    if HEADER_KEY not in checkpoint:
        raise CheckpointError("the checkpoint was not written by padseg.")
    check_format(checkpoint, "the checkpoint")
    header = Header.from_checkpoint(checkpoint)
    for what, theirs, ours in (
        ("class", header.class_name, class_name),
        ("system", header.system, system),
    ):
        if theirs != ours:
            raise CheckpointError(
                f"the checkpoint is of {what} {theirs}, but the configured {what} is {ours}: use "
                "the configuration it was trained with."
            )
    return header


def drop_unreadable(checkpoint: Checkpoint) -> None:
    """Leave out of a checkpoint, in place and with a warning, what could not be read again without running code.

    That can be the options of a user's data module, the state of a callback, or what a user's module adds; padseg's
    own entries are plain.
    """
    callbacks = checkpoint.get("callbacks", {})
    dropped = [f"the state of {name}" for name in _drop(callbacks, callbacks)]
    others = [name for name in checkpoint if name not in (*_TENSORS, "callbacks")]
    dropped += _drop(checkpoint, others)
    if dropped:
        _warn_of_dropped(", ".join(dropped))


@lru_cache  # once, not at each save
def _warn_of_dropped(names: str) -> None:
    _log.warning(
        "Checkpoints are written without %s: only tensors and plain values can be read back.",
        names,
    )


def _drop(entries: dict[str, Any], names: Iterable[str]) -> list[str]:
    """Remove those of the named entries that are not plain; return their names."""
    dropped = [name for name in names if not _is_plain(entries[name])]
    for name in dropped:
        del entries[name]
    return dropped


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict) and all(isinstance(one, Tensor) for one in value.values()):
        return True  # as a copy of all weights, which would take long
    buffer = io.BytesIO()
    try:
        torch.save(value, buffer)
        torch.load(io.BytesIO(buffer.getbuffer()), map_location="meta", weights_only=True)
    except Exception:  # noqa: BLE001 - a user's object may raise anything
        return False
    return True


@contextmanager
def mismatch_explained(what: str) -> Iterator[None]:
    """Turn the errors of weights or options that do not fit this version's network into a sentence about `what`.

    Raises:
        CheckpointError: Building or loading has failed.
    """
    try:
        yield
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{what} is damaged, of a system that has changed since, or loaded with other options than it was "
            f"trained with ({type(error).__name__}): leave those out, or train it again."
        ) from error


def require_system(header: Header, what: str) -> None:
    """Refuse a checkpoint, `what` in the message, of a system that is not registered.

    Raises:
        CheckpointError: No module that was imported has registered the system.
    """
    if header.system not in SYSTEMS:
        raise CheckpointError(
            f"{what} is of system {header.system!r}, which does not come with padseg: name the module that "
            "registers it with --plugin (in Python, import it first)."
        )


def warn_of_subclass(header: Header, what: str) -> None:
    """Warn that the user's subclass is replaced by padseg's own class: a checkpoint never names code to import."""
    if header.subclass is not None:
        _log.warning(
            "%s was trained as %s and is used as padseg's %s. To use your own class, pass --model with its import "
            "path to `test` and the like, or call its load_from_checkpoint; give it its own arguments again.",
            *(what, header.subclass, header.class_name),
        )


def _foreign(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a checkpoint of padseg: pass one that padseg wrote (for an export, the one it was made from)."
    )


def store_calibration(
    path: str | Path, calibration: Calibration | None, shared: bool = False
) -> None:
    """Replace the thresholds in a checkpoint atomically; nothing else in it changes.

    For `shared`, see `write_checkpoint`: a training is alone with its checkpoints, and may be killed.

    Raises:
        CheckpointError: As `read_checkpoint`, or the file cannot be written.
    """
    checkpoint = read_checkpoint(path)
    checkpoint[HEADER_KEY]["calibration"] = None if calibration is None else calibration.to_dict()
    write_checkpoint(checkpoint, path, shared)


def write_checkpoint(checkpoint: Checkpoint, path: str | Path, shared: bool = False) -> None:
    """Write a checkpoint, which replaces the old one atomically, behind a link if `path` is one.

    Other processes may write a `shared` one at the same time.

    Raises:
        CheckpointError: It cannot be written; the old one is still there.
    """
    path = Path(path)
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    try:
        # If possible, always the same name, so that killed processes leave at most one such file.
        write_bytes(path, buffer.getbuffer(), None if shared else f".{path.name}.part")
    except OSError as error:
        raise _unwritable(path, error) from error


def store_teachers(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Put the weights of a module's teachers into its state dict, in float16 if that changes none of them.

    A callback that averages weights may have rounded those that never change as well. Weights that come from a
    file in float16, as those of large transformers often do, become float32 with the same values when they are
    loaded.
    """
    for prefix, part in module.named_modules():
        if not isinstance(part, Teacher):
            continue
        own = part.state_dict(prefix=f"{prefix}.")
        halves = {name: value.half() for name, value in own.items() if value.is_floating_point()}
        exact = all(
            torch.equal(half.to(own[name].dtype), own[name]) for name, half in halves.items()
        )
        state.update(own | halves if exact else own)


def require_writable_checkpoint(path: Path) -> None:
    """Reject a checkpoint that `write_checkpoint` could not replace.

    Raises:
        CheckpointError: It is read-only.
    """
    try:
        require_writable(path)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {path} cannot be written ({error.strerror}): make file and folder writable and make "
        "room; what was saved before is intact."
    )


def _first_sentence(error: Exception) -> str:
    """What an error says, without the advice that PyTorch adds."""
    return re.split(r"\n|\. ", str(error).strip())[0].rstrip(".") or type(error).__name__


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written completely or not at all, and read without unpickling code.

    Lightning writes to the system's temporary folder first. If that is on another disk, the file is
    then copied, and a copy can be interrupted.
    """

    def save_checkpoint(
        self, checkpoint: Checkpoint, path: str | Path, storage_options: Any = None
    ) -> None:
        """As `write_checkpoint`."""
        if "://" in str(path):  # object stores write atomically anyway
            super().save_checkpoint(checkpoint, path, storage_options)
        else:
            write_checkpoint(checkpoint, path)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> Checkpoint:
        """Read a checkpoint that holds only tensors and plain types, even if the caller allows more."""
        checkpoint: Checkpoint = super().load_checkpoint(path, map_location, weights_only=True)
        return checkpoint
