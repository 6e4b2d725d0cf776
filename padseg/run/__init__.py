"""Categories x seeds: both phases, test and tables; what was cut off is resumed."""
