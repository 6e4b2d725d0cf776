"""The precisions of training, test and prediction."""

import torch

# The dtypes of autocast.
PRECISIONS: dict[str, torch.dtype | None] = {
    "32-true": None,
    "bf16-mixed": torch.bfloat16,
    "16-mixed": torch.float16,
}


def default_precision(kind: str, calibrated_in: str | None = None) -> str:
    """`bf16-mixed` if the processor computes in bfloat16, else `32-true`.

    Args:
        kind: Type of the device, such as `cpu` or `cuda`.
        calibrated_in: Precision in which the thresholds were set, if there are any; `32-true` is kept.
    """
    if calibrated_in == "32-true":
        return "32-true"
    if kind == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # A CPU that emulates bfloat16 is several times slower than in float32.
        fast = kind == "cpu" and cpu_has_bfloat16()
    return "bf16-mixed" if fast else "32-true"


def cpu_has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16 instead of emulating it."""
    if hasattr(torch.cpu, "get_capabilities"):  # of recent releases of PyTorch
        found = torch.cpu.get_capabilities()
        return bool(found.get("amx_bf16") or found.get("avx512_bf16"))
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def accelerator() -> torch.device:
    """The accelerator, or the CPU if there is none."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
