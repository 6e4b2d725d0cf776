"""Parallel mapping in threads."""

import threading
import time

import pytest

from padseg.machine.threads import map_in_threads, usable_cores


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 6), ("150000 100000", 2), ("900000 100000", 6), (None, 6)]
)
def test_a_container_may_have_fewer_cores_than_the_machine(quota, cores, tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr("padseg.machine.threads._QUOTA", tmp_path / "cpu.max")
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert usable_cores() == cores


def test_order_is_kept():
    def slowest_first(number):
        time.sleep(0.02 if number == 0 else 0)
        return 2 * number

    assert list(map_in_threads(slowest_first, range(20), 4)) == [*range(0, 40, 2)]


@pytest.mark.parametrize("count", [1, 3])
def test_items_are_taken_as_results_are_used(count):
    taken = []
    results = map_in_threads(lambda item: item, (taken.append(i) or i for i in range(100)), count)
    for used in range(1, 10):
        next(results)
        assert len(taken) == used + count - 1
    results.close()


def test_no_more_results_wait_than_there_is_room_for():
    taken = []
    results = map_in_threads(
        lambda item: item, (taken.append(i) or i for i in range(20)), 50, lambda i: 10 + i % 2, 35
    )
    for used in range(1, 5):
        assert next(results) == used - 1
        assert len(taken) == used + 3  # three weigh 31 or 32; the next one has been weighed
    assert [*results] == [*range(4, 20)]
    assert [*map_in_threads(lambda item: item, [1, 2, 3], 50, lambda item: 99, 35)] == [1, 2, 3]


def test_an_error_reaches_the_caller_and_ends_the_threads():
    before = threading.active_count()

    def fail(number):
        if number == 5:
            raise ValueError("five")
        return number

    with pytest.raises(ValueError, match="five"):
        list(map_in_threads(fail, range(1000), 8))
    assert threading.active_count() == before
