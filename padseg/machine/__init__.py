"""The machine underneath: files written whole, threads, precision, peak memory."""
