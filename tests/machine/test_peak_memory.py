"""The peak memory that a run reports."""

import sys

import numpy as np
import pytest
import torch

from padseg.machine.peak_memory import peak_memory_mb, reset_peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="counts anew on Linux only")
def test_the_peak_since_the_last_reset():
    cpu = torch.device("cpu")
    reset_peak_memory(cpu)
    before = peak_memory_mb(cpu)
    filled = np.ones(128 * 2**20, np.uint8)
    del filled
    peak = peak_memory_mb(cpu)
    assert 96 < peak - before < 160
    reset_peak_memory(cpu)
    assert peak_memory_mb(cpu) < peak - 64


@pytest.mark.skipif(torch.cuda.is_initialized(), reason="CUDA is initialised already")
def test_a_gpu_that_is_not_initialised_yet():
    """As with `padseg run --precision`, which has not asked the GPU for its default."""
    cuda = torch.device("cuda", 0)
    reset_peak_memory(cuda)
    assert peak_memory_mb(cuda) == 0
