"""Which normal images are held out."""

import hashlib
from pathlib import Path

from padseg.data.samples import split_held_out


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
