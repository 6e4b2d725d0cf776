"""An experiment: every category with every seed, and a table of all results."""

import logging
from contextlib import suppress
from dataclasses import replace

import pandas as pd

from padseg.data.image_files import list_textures
from padseg.data.layouts import list_trainable
from padseg.errors import ConfigError, PadsegError, count
from padseg.machine.console import quietly, say, shell
from padseg.machine.folders import OPTIONS_FILE, differing_options, recorded_options
from padseg.models import SYSTEMS
from padseg.plugins import plugin_option
from padseg.run.check import check_options
from padseg.run.files import METRICS_FILE, TABLE_FILE, PhaseFiles, run_folder
from padseg.run.one import has_begun, run_one
from padseg.run.options import RunOptions
from padseg.run.runs import OF_ONE_RUN, Run, runs_of
from padseg.run.schedule import devices, in_processes, on_ray
from padseg.run.table import print_table, write_table

_log = logging.getLogger(__name__)


def run(
    options: RunOptions,
    parallel: int | None = None,
    shard: tuple[int, int] = (1, 1),
    ray: str | None = None,
) -> pd.DataFrame:
    """Train, test and tabulate every category with every seed.

    Args:
        options: What to run.
        parallel: Number of simultaneous runs on this machine; None for one per GPU.
        shard: (i, n) to do only the i-th of n equal parts of the runs.
        ray: Address of the Ray cluster to run on.

    Returns:
        The rows of `results.csv` for these options.

    Raises:
        PadsegError: An input is wrong, or some runs failed; the others are done by then.
    """
    if parallel is None:
        parallel = max(1, len(devices()))
    if parallel < 1:
        raise ConfigError(f"--parallel is {parallel}; it must be at least 1.")
    _check_data(options)
    index, shards = shard
    runs = runs_of(options)[index - 1 :: shards]
    if unfinished := [run for run in runs if not (run.folder / METRICS_FILE).exists()]:
        check_options(unfinished[0])
    with quietly(options.quiet):
        with suppress(PadsegError):  # what cannot be read is told by its own run
            _tell_of_variants(runs)
        failed = _do(runs, parallel, ray)
        table = write_table(options.out)
        rows = table[
            (table["label"] == options.name)
            & table["category"].isin(options.categories)
            & table["seed"].isin(options.seeds)
        ]
        print_table(rows)
        _say_where(options, rows)
    if failed:
        names = ", ".join(sorted(map(str, failed)))
        raise PadsegError(f"{len(failed)} of {count(len(runs), 'run')} failed: {names}.")
    return rows


def _say_where(options: RunOptions, rows: pd.DataFrame) -> None:
    """Where the results lie, and what to do with them."""
    if rows.empty:
        return
    first = rows.iloc[0]
    folder = run_folder(options.out, options.name, str(first["category"]), int(first["seed"]))
    checkpoint = PhaseFiles(folder, options.phases[-1]).checkpoint
    say(f"Results: {options.out / TABLE_FILE}; model: {checkpoint}")
    say(f"Next: {shell('padseg', 'report', options.out)}")
    detect = shell("padseg", "detect", *plugin_option(options.plugin), checkpoint)
    say(f"      {detect} IMAGES --out found")


def _check_data(options: RunOptions) -> None:
    """Reject data with which a run would fail.

    Raises:
        ConfigError: Textures are needed and not given.
        DataError: A category or the textures cannot be listed.
    """
    for category in options.categories:
        list_trainable(options.root, category, options.layout)
    if SYSTEMS[options.system].synthetic:
        if options.textures is None:
            raise ConfigError(
                f"{options.system} paints synthetic defects: give the folder of their textures with --textures, "
                "such as data/dtd/images after padseg download dtd --root data."
            )
        list_textures(options.textures)


def _tell_of_variants(runs: list[Run]) -> None:
    """Warn, before hours are spent, if the label has runs with other options."""
    own = {run.folder for run in runs}  # `run_in` refuses other options in these
    paths = sorted(runs[0].folder.parents[1].glob(f"*/seed*/{OPTIONS_FILE}")) if runs else []
    others = [path.parent for path in paths if path.parent not in own and has_begun(path.parent)]
    now = runs[0].results_depend_on() if others else {}
    for folder in others:
        known = [recorded_options(folder) or {}, now]
        if differing := differing_options(known, leave_out=OF_ONE_RUN):
            _log.warning(
                "%s was run with other %s, so a mean with it would mix several variants: pass another --label.",
                *(folder, ", ".join(differing)),
            )
            return


def _do(runs: list[Run], parallel: int, ray: str | None) -> list[Run]:
    """Do the runs in this process, in others or on a Ray cluster.

    Returns:
        The runs that failed.

    Raises:
        PadsegError: The only run, in this process, failed.
    """
    portable = [replace(run, options=run.options.portable()) for run in runs]
    if ray is not None:
        return on_ray(try_run, portable, ray)
    if parallel > 1 and len(runs) > 1:
        return in_processes(try_run, portable, parallel)
    if len(runs) == 1:
        run_one(runs[0])
        return []
    return [run for run in runs if not try_run(run)]


def try_run(run: Run) -> bool:
    """Do one run and report why it failed, if it did.

    Returns:
        Whether it succeeded.
    """
    try:
        run_one(run)
    except PadsegError as error:
        _log.error("%s failed: %s", run, error)
        return False
    except Exception:  # noqa: BLE001 - whatever it is, the other runs continue
        _log.exception("%s failed.", run)
        return False
    return True
