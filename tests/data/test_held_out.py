"""Which normal images are held out."""

import hashlib
from pathlib import Path

import pytest

from padseg.data.held_out import split_held_out
from padseg.errors import DataError


def test_held_out_split_is_stable_when_images_are_added():
    paths = [Path(f"{index:03}.png") for index in range(100)]
    _, held_out = split_held_out(paths, 0.1)
    more = paths + [Path(f"new{index}.png") for index in range(100)]
    train, _ = split_held_out(more, 0.2)
    assert len(held_out) == 10
    assert len(set(held_out) & set(train)) <= 4
    assert split_held_out(paths, 0)[1] == []


def test_a_hash_of_the_name_decides():
    paths = [Path(f"{index:03}.png") for index in range(100)]
    by_hash = sorted(paths, key=lambda path: hashlib.sha256(path.name.encode()).hexdigest())
    train, held_out = split_held_out(paths, 0.1)
    assert held_out == sorted(by_hash[:10])
    assert train == [path for path in paths if path not in held_out]


def test_files_of_one_name_are_held_out_each_for_itself():
    paths = [Path(f"kos{item:02}/Part{view}.jpg") for item in range(40) for view in range(8)]
    _, held_out = split_held_out(paths, 0.1)
    assert len({path.name for path in held_out}) == 8
    flat = [Path(f"{index:03}.png") for index in range(100)]
    elsewhere = [Path("/data/widget/train/good") / path for path in flat]
    assert split_held_out(elsewhere, 0.1)[1] == [
        Path("/data/widget/train/good") / path for path in split_held_out(flat, 0.1)[1]
    ]


def test_copies_are_held_out_together(tmp_path):
    paths = [
        tmp_path / day / f"{index:02}.png" for day in ("monday", "tuesday") for index in range(20)
    ]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        # Tuesday's first ten images are Monday's; of the others, some are as large, but differ.
        path.write_text(path.stem if int(path.stem) < 10 else f"{path.parent.name} {path.stem}")
    train, held_out = split_held_out(paths, 0.3)
    assert len(held_out) in (12, 13)
    assert sorted(train + held_out) == sorted(paths)
    assert not {path.read_text() for path in train} & {path.read_text() for path in held_out}
    with pytest.raises(DataError, match="1 different normal image, too few to hold 10% out"):
        split_held_out([paths[0], paths[20]], 0.1)


@pytest.mark.parametrize(("copies", "held"), [(60, 10), (50, 50), (99, 1), (2, 10)])
def test_more_copies_than_half_of_the_images_are_not_held_out(tmp_path, copies, held):
    paths = [tmp_path / f"{index:03}.png" for index in range(100)]
    for index, path in enumerate(paths):
        path.write_text("same" if index < copies else path.stem)
    train, held_out = split_held_out(paths, 0.1)
    assert len(held_out) == held
    assert not {path.read_text() for path in train} & {path.read_text() for path in held_out}
