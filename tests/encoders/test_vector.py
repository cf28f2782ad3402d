import numpy as np
import pytest
import torch

from plait.encoders.vector import Vector


def vectors(count, size=7, seed=0):
    return list(np.random.default_rng(seed).normal(3, 5, (count, size)).astype(np.float32))


@pytest.mark.parametrize("tokens", [1, 3])
def test_contract(lab, tokens):
    lab.contract(Vector(tokens=tokens), "vector", vectors(5))


def test_scale_and_shift_of_the_data_do_not_matter(lab):
    cells = vectors(20)
    moved = [cell * np.float32(64) + np.float32(1000) for cell in cells]
    outputs = []
    for data in (cells, moved):
        encoder = lab.build(Vector(), "vector", data)
        encoder.prepare(lab.rows(lab.packed(encoder, data)))
        outputs.append(lab.encode(encoder, data).values)
    torch.testing.assert_close(*outputs, rtol=1e-3, atol=1e-3)


def test_statistics_are_those_of_the_training_rows(lab):
    train = vectors(30)
    encoder = lab.build(Vector(), "vector", train)
    encoder.prepare(lab.rows(lab.packed(encoder, train[:11]), lab.packed(encoder, train[11:])))
    torch.testing.assert_close(encoder.standardise.mean, torch.from_numpy(np.mean(train, 0)))
    torch.testing.assert_close(encoder.standardise.std, torch.from_numpy(np.std(train, 0)))


def test_tokens_of_one_vector_differ(lab):
    tokens = lab.encode(lab.build(Vector(tokens=2), "vector", vectors(4)), vectors(4)).values
    assert (tokens[:, 0] - tokens[:, 1]).abs().mean() > 0.1
