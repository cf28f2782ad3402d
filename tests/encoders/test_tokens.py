import numpy as np
import pytest
import torch

from plait.encoders.tokens import TokenSequence


def sequences(*lengths, size=5, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(1, 2, (n, size)).astype(np.float32) for n in lengths]


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize("lengths", [(4, 4, 4, 4), (1, 6, 3, 4, 6)])
def test_contract(lab, lengths, positions, depth):
    lab.contract(TokenSequence(positions=positions, depth=depth), "tokens", sequences(*lengths))


def test_without_positions_the_order_of_tokens_does_not_matter(lab):
    cells = sequences(6, 6)
    turned = [cell[::-1].copy() for cell in cells]
    for positions in (False, True):
        encoder = lab.build(TokenSequence(positions=positions, depth=1), "tokens", cells)
        plain, back = lab.encode(encoder, cells).values, lab.encode(encoder, turned).values.flip(1)
        assert torch.allclose(plain, back, atol=1e-5) is not positions


def test_padding_is_no_part_of_the_statistics(lab):
    train = sequences(2, 9, 5)
    encoder = lab.build(TokenSequence(), "tokens", train)
    encoder.prepare(lab.rows(lab.packed(encoder, train, padding=20, junk=50)))
    every = np.concatenate(train)
    torch.testing.assert_close(encoder.standardise.mean, torch.from_numpy(every.mean(0)))
    torch.testing.assert_close(encoder.standardise.std, torch.from_numpy(every.std(0)))
