"""Whether an error says that memory has run out."""

# In messages of torch and NumPy.
_WORDS = ("DefaultCPUAllocator", "Unable to allocate", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory has run out, on the CPU or a device, by the type of the error or by its words."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _WORDS)
