"""Whether an error says that memory has run out."""

# In messages of torch and NumPy.
_WORDS = ("DefaultCPUAllocator", "Unable to allocate", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, NumPy or torch had no memory left, on the CPU or on a device, also in another error's words."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _WORDS)
