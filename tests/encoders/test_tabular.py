import numpy as np
import pytest
import torch

from plait.encoders.tabular import Tabular, robust_scale, squash

DETAILS = {
    "columns": [
        {"name": "age", "categories": None},
        {"name": "city", "categories": ["Bern", "Oslo", "Rome"]},
        {"name": "height", "categories": None},
        {"name": "owner", "categories": ["no", "yes"]},
    ]
}
CELLS = [
    np.array(row, np.float32)
    for row in ([30, 0, 1.7, 1], [41, 2, np.nan, 0], [25, np.nan, 1.9, 1], [np.nan, 1, 1.6, np.nan], [33, 1, 1.5, 0])
]


@pytest.mark.parametrize("depth", [0, 1])
def test_contract(lab, depth):
    lab.contract(Tabular(depth=depth), "tabular", CELLS, DETAILS)


def test_contract_without_known_columns(lab):
    lab.contract(Tabular(), "tabular", [cell[[0, 2]] for cell in CELLS])


def built(lab, depth=0):
    return lab.build(Tabular(depth=depth), "tabular", CELLS, DETAILS)


def test_a_missing_inner_cell_is_no_token_and_a_hidden_one_is(lab):
    encoder = built(lab)
    pieces = encoder.cut(lab.packed(encoder, CELLS))
    assert pieces.mask.tolist() == [[not np.isnan(value) for value in cell] for cell in CELLS]
    hidden = torch.zeros_like(pieces.mask)
    hidden[0, 2] = True
    tokens = encoder(pieces.with_(hidden=hidden))
    assert tokens.mask[0, 2]
    assert not tokens.visible[0, 2]
    expected = encoder.trunk.norm(encoder.trunk.unseen + encoder.bias[2])
    torch.testing.assert_close(tokens.values[0, 2], expected)


def test_missing_inner_cells_leave_the_others_as_if_the_column_were_not_there(lab):
    encoder = built(lab, depth=1)
    complete = np.array([30, 1, 1.7, 1], np.float32)
    gap = complete.copy()
    gap[2] = np.nan
    without = lab.encode(encoder, [gap]).values[0, [0, 1, 3]]
    pieces = encoder.cut(lab.packed(encoder, [complete]))
    hidden = torch.tensor([[False, False, True, False]])
    torch.testing.assert_close(encoder(pieces.with_(hidden=hidden)).values[0, [0, 1, 3]], without)
    assert not torch.allclose(encoder(pieces).values[0, [0, 1, 3]], without, atol=1e-3)


@pytest.mark.parametrize("code", [-1, 3, 1e9])
def test_an_unknown_category_is_its_column_alone(lab, code):
    encoder = built(lab)
    tokens = lab.encode(encoder, [np.array([30, code, 1.7, 1], np.float32)])
    torch.testing.assert_close(tokens.values[0, 1], encoder.trunk.norm(encoder.bias[1]))


def test_categories_of_two_columns_do_not_mix(lab):
    encoder = built(lab)
    with torch.no_grad():
        encoder.bias.zero_()
    tokens = [
        lab.encode(encoder, [np.array([30, c, 1.7, o], np.float32)]).values[0] for c, o in ((1, 0), (2, 0), (2, 1))
    ]
    assert torch.equal(tokens[0][3], tokens[1][3])
    assert torch.equal(tokens[1][1], tokens[2][1])
    assert len({tuple(token.tolist()) for token in (tokens[0][1], tokens[1][1], tokens[1][3], tokens[2][3])}) == 4


def test_robust_scale_agrees_with_numpy_and_ignores_outliers():
    rng = np.random.default_rng(0)
    values = rng.normal(50, 4, (1001, 3)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    center, spread = robust_scale(torch.from_numpy(values))
    np.testing.assert_allclose(center, np.nanmedian(values, 0), rtol=1e-5)
    low, high = np.nanquantile(values, [0.25, 0.75], axis=0)
    np.testing.assert_allclose(spread, (high - low) / 1.349, rtol=1e-4)
    np.testing.assert_allclose(spread, 4, rtol=0.15)
    values[np.flatnonzero(~np.isnan(values[:, 0]))[0], 0] = 1e12
    shifted, spread_then = robust_scale(torch.from_numpy(values))
    torch.testing.assert_close(shifted, center, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(spread_then, spread, rtol=0.02, atol=0.1)


def test_robust_scale_of_columns_that_hardly_vary():
    rare = torch.zeros(100)
    rare[:5] = 10.0
    columns = torch.stack([torch.full((100,), 7.0), torch.full((100,), torch.nan), rare], 1)
    center, spread = robust_scale(columns)
    assert center.tolist() == [7, 0, 0]
    assert spread[:2].tolist() == [1, 1]
    torch.testing.assert_close(spread[2], rare.std(correction=0))


def test_squash_is_the_identity_near_zero_odd_rising_and_bounded():
    x = torch.linspace(-1e4, 1e4, 100_001, dtype=torch.float64)
    y = squash(x)
    assert (y.diff() > 0).all()
    assert y.abs().max() <= 3
    torch.testing.assert_close(y, -y.flip(0))
    small = torch.linspace(-0.01, 0.01, 11)
    torch.testing.assert_close(squash(small), small, rtol=1e-4, atol=1e-7)


def test_tokens_are_what_the_formula_says_of_the_training_rows(lab):
    encoder = built(lab)
    encoder.prepare(lab.rows(lab.packed(encoder, CELLS[:2]), lab.packed(encoder, CELLS[2:])))
    table, starts = np.stack(CELLS), {1: 0, 3: 3}
    tokens = lab.encode(encoder, CELLS)
    for i, cell in enumerate(CELLS):
        for k, value in enumerate(cell):
            if np.isnan(value):
                continue
            if k in starts:
                said = encoder.category[starts[k] + int(value)]
            else:
                low, median, high = np.nanquantile(table[:, k].astype(np.float64), [0.25, 0.5, 0.75])
                x = (value - median) / ((high - low) / 1.349)
                said = float(x / np.sqrt(1 + (x / 3) ** 2)) * encoder.scale[k]
            expected = encoder.trunk.norm(said + encoder.bias[k])
            torch.testing.assert_close(tokens.values[i, k], expected, rtol=1e-4, atol=1e-4)


def test_statistics_are_learned_once_and_not_from_nothing(lab):
    encoder = built(lab)
    encoder.prepare(lab.rows())
    assert not encoder.learned
    encoder.prepare(lab.rows(lab.packed(encoder, CELLS)))
    center = encoder.center.clone()
    encoder.prepare(lab.rows(lab.packed(encoder, CELLS[:1])))
    assert torch.equal(encoder.center, center)
    assert (center[[0, 2]] != 0).all()
