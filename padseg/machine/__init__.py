"""Files, folders, threads, precision and memory of the machine."""
