"""Lightning's CLI behind `fit`, `validate`, `test` and `predict`, and behind every run."""
