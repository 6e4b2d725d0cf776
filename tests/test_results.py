"""The tables of results hold what was measured."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from padseg.names import SYSTEM_NAMES
from padseg.run.results import COLUMNS

PATH = Path(__file__).with_name("benchmarks") / "results.py"
spec = importlib.util.spec_from_file_location("results_of_runs", PATH)
results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(results)


@pytest.mark.parametrize("document", results.TABLES)
def test_the_tables_are_those_of_the_stored_results(document):
    table = pd.read_csv(results.TABLE)
    assert results.filled(document, table) == (results.ROOT / document).read_text(encoding="utf-8")


def test_every_stored_result_is_of_the_list():
    table, known = pd.read_csv(results.TABLE), results.read_list()
    assert list(table.columns) == [*COLUMNS, *results.EXTRA]
    assert not table.duplicated(results.KEYS).any()
    assert table["version"].nunique() == 1
    for one in table.to_dict("records"):
        variant = known[one["label"]]
        assert variant["system"] == one["system"]
        assert one["category"] in variant["categories"]
        assert one["seed"] in variant["seeds"]
    systems = {variant["system"] for variant in known.values()}
    assert systems <= {*SYSTEM_NAMES, *results.ABLATION}
