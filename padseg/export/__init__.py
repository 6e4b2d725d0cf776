"""A checkpoint as a file for another runtime."""
