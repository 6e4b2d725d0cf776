"""A small generated data set, and all of padseg on it."""
