"""Categories x seeds: training, test and tables; interrupted runs are resumed."""
