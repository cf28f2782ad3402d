import subprocess
import sys

import torch

from plait.core.random import generator, key, seeded, spawn


def test_keys_are_the_same_in_every_process() -> None:
    code = "from plait.core.random import key; print(key(0, 'step', 3, None, ('a', 1.5)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(said.stdout) == key(0, "step", 3, None, ("a", 1.5))


def test_keys_tell_apart() -> None:
    assert len({key(a, b) for a in range(50) for b in range(50)}) == 2500
    assert key("1") != key(1)
    assert key(1, 23) != key(12, 3)


def test_generators_repeat() -> None:
    assert torch.equal(torch.rand(5, generator=generator(1, "a")), torch.rand(5, generator=generator(1, "a")))
    assert not torch.equal(torch.rand(5, generator=generator(1, "a")), torch.rand(5, generator=generator(1, "b")))


def test_seeded_leaves_the_global_stream_as_it_was() -> None:
    torch.manual_seed(7)
    expected = torch.rand(4)
    torch.manual_seed(7)
    with seeded(3):
        inside = torch.rand(4)
    assert torch.equal(torch.rand(4), expected)
    torch.manual_seed(9)
    try:
        with seeded(3):
            assert torch.equal(torch.rand(4), inside)
            raise KeyError
    except KeyError:
        again = torch.rand(4)
    torch.manual_seed(9)
    assert torch.equal(torch.rand(4), again)


def test_spawned_seeds_are_the_surroundings_choice() -> None:
    with seeded("x"):
        first = spawn()
    with seeded("x"):
        assert spawn() == first
    with seeded("y"):
        assert spawn() != first
