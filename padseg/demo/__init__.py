"""A small generated data set, and a complete run of padseg on it."""
