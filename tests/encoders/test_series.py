import numpy as np
import pytest
import torch

from plait.encoders.series import Series


def series(*lengths, channels=3, seed=0, gaps=0.2):
    rng = np.random.default_rng(seed)
    cells = []
    for n in lengths:
        time = np.concatenate([[0], rng.integers(1, 9, n - 1).cumsum() / 4])
        values = rng.normal(5, 3, (n, channels))
        values[rng.random(values.shape) < gaps] = np.nan
        values[0, 0] = 1.5
        cells.append(np.column_stack([time, values]).astype(np.float32))
    return cells


@pytest.mark.parametrize("options", [{}, {"depth": 0}, {"patch": 1}])
@pytest.mark.parametrize("lengths", [(9, 4, 17, 1, 12), (6, 6, 6, 6)])
def test_contract(lab, lengths, options):
    lab.contract(Series(**{"patch": 4, **options}), "series", series(*lengths))


def prepared(lab, cells, **options):
    encoder = lab.build(Series(**{"patch": 4, **options}), "series", cells)
    encoder.prepare(lab.rows(lab.packed(encoder, cells)))
    return encoder


def with_time(cells, change):
    out = [cell.copy() for cell in cells]
    for cell in out:
        cell[:, 0] = change(cell[:, 0])
    return out


def test_shifting_all_times_changes_nothing(lab):
    cells = series(9, 14, 3)
    encoder = prepared(lab, cells)
    shifted = with_time(cells, lambda time: time + 1024)
    assert torch.equal(lab.encode(encoder, shifted).values, lab.encode(encoder, cells).values)


def test_another_unit_of_time_or_of_a_channel_changes_nothing(lab):
    cells = series(9, 14, 30)
    other = with_time(cells, lambda time: time * 64)
    for cell in other:
        cell[:, 2] = cell[:, 2] * 16 - 100
    outputs = [lab.encode(prepared(lab, data), data).values for data in (cells, other)]
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-4)


def test_the_times_themselves_matter(lab):
    cells = series(9, 14, 30)
    encoder = prepared(lab, cells)
    stretched = with_time(cells, lambda time: time**2)
    assert not torch.allclose(lab.encode(encoder, stretched).values, lab.encode(encoder, cells).values, atol=0.01)


def test_unobserved_is_not_zero_and_not_the_mean(lab):
    cells = series(8, 8, gaps=0)
    encoder = prepared(lab, cells)
    variants = [cells[0].copy() for _ in range(3)]
    variants[0][2, 1] = np.nan
    variants[1][2, 1] = 0
    variants[2][2, 1] = encoder.standardise.mean[0]
    first, second, third = (lab.encode(encoder, [cell]).values for cell in variants)
    assert not torch.allclose(first, second, atol=1e-3)
    assert not torch.allclose(first, third, atol=1e-3)


def test_a_patch_without_observations_is_no_token(lab):
    (cell,) = series(12)
    cell[4:8, 1:] = np.nan
    encoder = prepared(lab, series(12, 9))
    tokens = lab.encode(encoder, [cell])
    assert tokens.mask.tolist() == [[True, False, True]]


def test_statistics_are_those_of_what_was_observed_in_training(lab):
    train = series(9, 14, 30)
    encoder = lab.build(Series(patch=4), "series", train)
    encoder.prepare(lab.rows(lab.packed(encoder, train[:2], padding=9, junk=50), lab.packed(encoder, train[2:])))
    steps = np.concatenate(train)
    np.testing.assert_allclose(encoder.standardise.mean, np.nanmean(steps[:, 1:], 0), rtol=1e-5)
    np.testing.assert_allclose(encoder.standardise.std, np.nanstd(steps[:, 1:], 0), rtol=1e-5)
    gaps = np.sort(np.concatenate([np.diff(cell[:, 0]) for cell in train]))
    assert encoder.step == gaps[(len(gaps) - 1) // 2]
