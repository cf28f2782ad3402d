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


def test_a_token_is_a_linear_map_of_the_standardised_vector_and_its_place(lab):
    cells = vectors(20)
    encoder = lab.build(Vector(tokens=2), "vector", cells)
    encoder.prepare(lab.rows(lab.packed(encoder, cells)))
    table = torch.from_numpy(np.stack(cells))
    standard = (table - table.mean(0)) / table.std(0, correction=0)
    tokens = lab.encode(encoder, cells).values
    for t, weight in enumerate(encoder.linear.weight.chunk(2)):
        expected = encoder.trunk.norm(standard @ weight.T + encoder.places[t])
        torch.testing.assert_close(tokens[:, t], expected, rtol=1e-3, atol=1e-4)


def test_the_mean_of_the_training_rows_is_its_place_alone(lab):
    cells = vectors(20)
    encoder = lab.build(Vector(tokens=2), "vector", cells)
    encoder.prepare(lab.rows(lab.packed(encoder, cells)))
    tokens = lab.encode(encoder, [np.mean(cells, 0)]).values[0]
    torch.testing.assert_close(tokens, encoder.trunk.norm(encoder.places), rtol=1e-3, atol=1e-3)


def test_features_are_left_out_of_training_steps_alone(lab):
    cells = vectors(20)
    encoder = lab.build(Vector(dropout=0.0, feature_dropout=0.5), "vector", cells)
    plain = lab.encode(encoder, cells).values
    assert torch.equal(plain, lab.encode(lab.build(Vector(), "vector", cells), cells).values)
    assert not torch.allclose(lab.encode(encoder.train(), cells).values, plain, atol=1e-2)
