"""A memory of normal features: what it keeps and what it answers."""

import torch

from padseg.models.memory import Memory, k_centre


def unit(*shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))
    return torch.nn.functional.normalize(x, dim=1)


def test_k_centre_takes_one_of_each_cluster_first():
    centres = unit(6, 20)
    labels = torch.arange(60) % 6
    noise = torch.randn(60, 20, generator=torch.Generator().manual_seed(0))
    chosen = k_centre(centres[labels] + 0.01 * noise, 6)
    assert chosen[0] == 0
    assert sorted(labels[chosen].tolist()) == list(range(6))


def test_k_centre_never_takes_a_vector_twice():
    vectors = unit(40, 8)
    assert sorted(k_centre(vectors, 40).tolist()) == list(range(40))


def test_a_memory_keeps_where_its_entries_come_from():
    memory, vectors, image = Memory(10, 8), unit(30, 8), torch.arange(30) // 3
    assert (memory.image == -1).all()
    memory.choose(vectors, image)
    for entry, number in zip(memory.entries, memory.image, strict=True):
        (found,) = (vectors == entry).all(dim=1).nonzero()
        assert image[found] == number


def test_few_candidates_are_repeated():
    memory, vectors = Memory(7, 8), unit(3, 8)
    memory.choose(vectors, torch.arange(3))
    assert sorted(memory.image.bincount().tolist()) == [2, 2, 3]


def test_the_answer_is_the_most_similar_entry():
    memory, key = Memory(50, 16), unit(2 * 35 * 31, 16).view(2, 35 * 31, 16)
    memory.choose(unit(50, 16), torch.zeros(50, dtype=torch.int64))
    answer = memory(key.transpose(1, 2).reshape(2, 16, 35, 31))
    entries, rows = memory.entries.detach().numpy(), key.reshape(-1, 16).numpy()
    expected = entries[(rows.astype("float64") @ entries.T.astype("float64")).argmax(1)]
    assert (answer.flatten(2).transpose(1, 2).reshape(-1, 16).numpy() == expected).all()


def test_bfloat16_changes_no_answer():
    memory, key = Memory(500, 16), unit(400, 16).T.reshape(1, 16, 20, 20)
    memory.choose(unit(500, 16), torch.zeros(500, dtype=torch.int64))
    expected = memory(key)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(memory(key), expected)


def test_entries_of_the_own_image_do_not_count():
    memory = Memory(12, 8)
    memory.choose(unit(12, 8), torch.arange(12) // 4)
    key = memory.entries.detach().T.reshape(1, 8, 3, 4).expand(3, -1, -1, -1)
    assert torch.equal(memory(key), key)
    for own, answer in enumerate(memory(key, torch.arange(3))):
        for vector, remembered in zip(key[0].flatten(1).T, answer.flatten(1).T, strict=True):
            others = memory.entries[memory.image != own]
            assert torch.equal(remembered, others[(others @ vector).argmax()])
