import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from plait.measures.space._ridge import PENALTIES, ridge
from plait.measures.space.encoding_model import encoding_model, held_out_errors

SITES = 15


def simulated(rows=200, width=6, seed=0):
    """Features of two modalities, what both together hold, and sites of four kinds: a, a + b, a * b, noise."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, rows, width))
    products = (a @ rng.normal(size=(width, width))) * (b @ rng.normal(size=(width, width))) / width

    def mixed(x):
        return x @ rng.normal(size=(x.shape[1], SITES)) / np.sqrt(x.shape[1])

    sites = [mixed(a), mixed(np.column_stack([a, b])), mixed(products), np.zeros((rows, SITES))]
    return {"a": a, "b": b}, products, np.column_stack(sites) + rng.normal(size=(rows, 4 * SITES))


def test_ridge_is_the_one_of_leave_one_out():
    rng = np.random.default_rng(0)
    for width in (5, 40):
        x, y, new = rng.normal(size=(30, width)) + 3, rng.normal(size=(30, 4)), rng.normal(size=(7, width))
        y[:, 0] += 5 * x[:, 0]
        penalties = [0.01, 0.1, 1.0, 10.0]
        wanted = RidgeCV(np.array(penalties) * 30, alpha_per_target=True).fit(x, y).predict(new)
        assert ridge(x, y, new, penalties) == pytest.approx(wanted)
        assert ridge(x, y, new, [0.3]) == pytest.approx(Ridge(9.0).fit(x, y).predict(new))


def test_infinite_ridge_predicts_the_mean():
    given, products, sites = simulated(60)
    assert ridge(products, sites, products[:3], [np.inf]) == pytest.approx(np.tile(sites.mean(0), (3, 1)))
    found = encoding_model(given, products, sites, penalties=[np.inf])
    assert all(value == pytest.approx(np.zeros(4 * SITES)) for value in found.r2.values())
    assert (found.share, found.gain.tolist()) == (0, [0] * 4 * SITES)


def test_products_are_flagged_and_sums_are_not():
    flagged = []
    for seed in range(12):
        given, products, sites = simulated(seed=seed)
        joint = np.column_stack([given["a"], given["b"], products])
        flagged.append(encoding_model(given, joint, sites, correction="none").flagged.reshape(4, SITES).mean(1))
    one, both, product, noise = np.mean(flagged, 0)
    assert product > 0.7
    assert max(one, both, noise) <= 0.05


def test_a_handier_summary_of_the_modalities_is_no_integration():
    handier, flagged = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(2, 90, 30))
        summary = (a + b) @ rng.normal(size=(30, 1))
        found = encoding_model({"a": a, "b": b}, summary, summary / summary.std() + rng.normal(size=(90, SITES)))
        handier.append(np.mean(found.r2["joint"] - found.r2["sum"]))
        flagged.append(found.share)
    assert np.mean(handier) > 0.1
    assert np.mean(flagged) < 0.02


def test_r2_and_gain_are_those_of_plain_cross_validation():
    given, products, sites = simulated(40)
    fold = np.arange(40) % 4
    errors = held_out_errors(given, products, sites, fold, [0.5])

    def scaled(x, inside):
        return (x - x[inside].mean(0)) / x[inside].std(0) / np.sqrt(x.shape[1])

    for f in range(4):
        inside, held = fold != f, fold == f
        for name, x in {**given, "joint": products}.items():
            z = scaled(x, inside)
            said = Ridge(0.5 * inside.sum()).fit(z[inside], sites[inside]).predict(z[held])
            assert errors[name][held] == pytest.approx((sites[held] - said) ** 2)
        both = np.column_stack([scaled(x, inside) for x in given.values()]) / np.sqrt(2)
        said = Ridge(0.5 * inside.sum()).fit(both[inside], sites[inside]).predict(both[held])
        assert errors["sum"][held] == pytest.approx((sites[held] - said) ** 2)
        assert errors["mean"][held] == pytest.approx((sites[held] - sites[inside].mean(0)) ** 2)


def test_no_model_sees_the_rows_that_it_is_judged_on():
    rng = np.random.default_rng(0)
    a, b, joint = rng.normal(size=(3, 40, 60))
    found = encoding_model({"a": a, "b": b}, joint, rng.normal(size=(40, 30)))
    assert all(value.mean() < 0.05 for value in found.r2.values())
    copies = np.repeat(np.arange(40), 3)
    sites = rng.normal(size=(40, 30))
    leaked = encoding_model({"a": a[copies], "b": b[copies]}, joint[copies], sites[copies])
    grouped = encoding_model({"a": a[copies], "b": b[copies]}, joint[copies], sites[copies], groups=copies)
    assert leaked.r2["a"].mean() > 0.5
    assert grouped.r2["a"].mean() < 0.2


def test_scale_and_shift_of_features_and_sites_change_nothing():
    given, products, sites = simulated(60)
    other = {"a": 1e4 * given["a"] + 7, "b": given["b"]}
    one, same = encoding_model(given, products, sites), encoding_model(other, products, -3 * sites + 1)
    for name in one.r2:
        assert one.r2[name] == pytest.approx(same.r2[name], abs=1e-6)
    assert one.p == pytest.approx(same.p, abs=1e-6)
    still = {"a": np.column_stack([given["a"], np.full(60, 0.1)]), "b": given["b"]}
    assert encoding_model(still, products, sites).r2["a"] == pytest.approx(one.r2["a"], abs=1e-6)


def test_gain_is_over_the_nearest_rival_and_in_its_interval():
    given, products, sites = simulated()
    found = encoding_model(given, products, sites)
    for s, rival in enumerate(found.rival):
        assert found.gain[s] == pytest.approx(found.r2["joint"][s] - found.r2[rival][s])
        assert found.gain_interval[s, 0] <= found.gain[s] <= found.gain_interval[s, 1]
    assert found.share == found.flagged.mean()
    low, high = found.intervals["share"]
    assert low <= found.share <= high
    alone = encoding_model(given, products, sites, correction="none")
    assert (alone.p <= found.p).all()


def test_account_and_what_does_not_fit():
    given, products, sites = simulated(30)
    account = json.loads(json.dumps(encoding_model(given, products, sites).account()))
    assert set(account["r2"]) == {"a", "b", "sum", "additive", "joint"}
    assert PENALTIES[-1] == np.inf
    with pytest.raises(ValueError, match="2 modalities or more"):
        encoding_model({"a": given["a"]}, products, sites)
    with pytest.raises(ValueError, match="none named sum"):
        encoding_model({"a": given["a"], "sum": given["b"]}, products, sites)
    with pytest.raises(ValueError, match="'joint': 29"):
        encoding_model(given, products[1:], sites)
    with pytest.raises(ValueError, match="column 2 is the same"):
        encoding_model(given, products, np.where(np.arange(4 * SITES) == 2, 0.1, sites))
    with pytest.raises(ValueError, match="folds"):
        encoding_model(given, products, sites, groups=np.arange(30) % 3)
    with pytest.raises(ValueError, match="NaN"):
        encoding_model(given, products * np.nan, sites)
