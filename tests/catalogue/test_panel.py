import grounded
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.preprocessing import StandardScaler

from plait.catalogue import panel as panels
from plait.catalogue.grounds import ground
from plait.catalogue.panel import features, panel, told_by_one
from plait.workflow import defaults, nested
from plait.workflow.prepare import encode
from plait.workflow.trials import Outcome

pytestmark = pytest.mark.usefixtures("alone", "few")

TAG = ("panel", 1)
SHARES = {"accuracy": accuracy_score, "macro_f1": lambda y, p: f1_score(y, p, average="macro", zero_division=0)}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The default recipe, small; two trials of each arm."""
    inner = defaults.default_recipe
    keep = {key: grounded.SMALL[key] for key in ("width", "embedding", "training")}
    brief = {**keep, "training": {**keep["training"], "epochs": 3}, "fusion": {"mean": {}}}
    monkeypatch.setattr(defaults, "default_recipe", lambda schema: {**inner(schema), **brief})
    monkeypatch.setattr(nested, "TRIALS", 2)
    monkeypatch.setattr(nested, "MORE", 1)
    monkeypatch.setattr(panels, "STRENGTHS", (1e-3, 1.0))


@pytest.fixture
def toy(collected):
    source = grounded.columns(100, noise=2.0, absent=0.4)
    source["label"] = ["class 0" if i % 10 < 5 else f"class {1 + i % 2}" for i in range(100)]
    source["a"] = [None if i % 7 == 0 else cell for i, cell in enumerate(source["a"])]
    return collected(grounded.table(source))


@pytest.fixture
def heard(monkeypatch):
    """-> what the arms of a panel found, once it was asked."""
    kept = {}
    inner = panels.judge
    monkeypatch.setattr(panels, "judge", lambda *given, **how: kept.update(inner(*given, **how)) or kept)
    return kept


def levels(found):
    return {name: judged.values().mean() for name, judged in found.items()}


def truth_of(where):
    said = where.table.column("label").to_pylist()
    return np.array([int(label[-1]) for label in said])


@pytest.mark.parametrize("measure", ["macro_f1"])
def test_majority_and_ensemble_are_what_counting_by_hand_gives(toy, heard, measure):
    where = ground("toy", ("e", 0, 1))
    found = levels(panel(where, f"test/{measure}", TAG))
    assert set(found) == {"late fusion", "a", "b", "majority", "ensemble", "concatenation"}
    truth, score = truth_of(where), SHARES[measure]
    cells = {name: where.table.column(name).to_pylist() for name in "ab"}
    majority, together = [], []
    for u, unit in enumerate(where.grounds.units):
        learned = np.concatenate([unit.place.train, unit.place.validation])
        shares = np.bincount(truth[learned], minlength=3) / len(learned)
        said = []
        for i, row in enumerate(unit.place.test):
            own = [heard[name].finals[u][0].predicted[i] for name in "ab" if cells[name][row] is not None]
            said.append(np.mean(own, 0).argmax() if own else shares.argmax())
        together.append(score(truth[unit.place.test], said))
        majority.append(score(truth[unit.place.test], np.full(len(said), shares.argmax())))
    assert found["majority"] == pytest.approx(np.mean(majority))
    assert found["ensemble"] == pytest.approx(np.mean(together))
    for arm in ("a", "b", "late fusion"):
        assert found[arm] == pytest.approx(heard[arm].values().mean())
    for one, other in zip(heard["a"].finals, heard["b"].finals, strict=True):
        assert not np.array_equal(one[0].predicted, other[0].predicted)


def by_hand(where):
    """[N, F]: cells side by side, the mean where there is none, and whether there is one."""
    parts = []
    for name in "ab":
        cells = where.table.column(name).to_pylist()
        width = len(next(cell for cell in cells if cell is not None))
        have = np.array([cell is not None for cell in cells])
        values = np.array([cell if cell is not None else [np.nan] * width for cell in cells], float)
        parts += [np.where(have[:, None], values, np.nanmean(values, 0)), have[:, None].astype(float)]
    return np.concatenate(parts, 1)


@pytest.mark.parametrize("measure", ["accuracy", "log_loss"])
def test_concatenation_is_logistic_regression_on_all_features(toy, measure, monkeypatch):
    """C by the searches alone; the test rows of a unit have no say, neither in C nor in the scale."""
    monkeypatch.setattr(panels, "judge", lambda *given, **how: {name: fake(given[0]) for name in NAMES})
    where = ground("toy", ("e", 0, 1))
    found = levels(panel(where, f"test/{measure}", TAG))
    x, truth = by_hand(where), truth_of(where)

    def fitted(strength, learned, asked):
        scale = StandardScaler().fit(x[learned])
        model = LogisticRegression(C=strength, max_iter=5000).fit(scale.transform(x[learned]), truth[learned])
        return model.predict_proba(scale.transform(x[asked]))

    values = []
    for unit in where.grounds.units:
        right = {}
        for strength in panels.STRENGTHS:
            each = []
            for s in unit.searches:
                place = where.grounds.searches[s]
                said = fitted(strength, np.concatenate([place.train, place.validation]), place.test)
                each.append(accuracy_score(truth[place.test], said.argmax(1)))
            right[strength] = np.mean(each)
        best = max(right, key=right.get)
        said = fitted(best, np.concatenate([unit.place.train, unit.place.validation]), unit.place.test)
        values.append(
            accuracy_score(truth[unit.place.test], said.argmax(1))
            if measure == "accuracy"
            else log_loss(truth[unit.place.test], said, labels=[0, 1, 2])
        )
    assert found["concatenation"] == pytest.approx(np.mean(values), abs=2e-3)


NAMES = ("late fusion", "a", "b")


def fake(where):
    def outcome(unit):
        return Outcome(0.5, None, np.full((len(unit.place.test), 3), 1 / 3), None, True, 0.0)

    return nested.Judged(nested.Searched([()], np.zeros((1, 1))), [[outcome(unit)] for unit in where.units])


def test_hidden_labels_teach_no_baseline(toy, monkeypatch):
    where = ground({"toy": {"labels": 30}}, ("e", 0, 1))
    for place in (*where.grounds.searches, *(unit.place for unit in where.grounds.units)):
        learned = panels._world(place).learned(place)
        assert not set(learned) & set(place.unlabelled)
        assert set(learned) == set(np.concatenate([place.train, place.validation])) - set(place.unlabelled)


def test_features_say_what_is_absent(toy):
    where = ground("toy", ("e", 0, 1))
    encoded = encode(where.table, defaults.resolve(where.table.schema))
    found = np.concatenate(list(features(encoded, len(where.table)).values()), 1)
    assert found == pytest.approx(by_hand(where), abs=1e-5)
    assert np.isfinite(found).all()


@pytest.fixture
def told_by_b(collected):
    """Noise in `a`, the class in `b`, noise in `c`."""
    source, rng = grounded.columns(90, noise=0.01), np.random.default_rng(1)
    for name in "ac":
        source[name] = rng.normal(size=(90, 4)).tolist()
    collected(grounded.table(source))


@pytest.mark.parametrize(("seen", "others"), [(("a",), ()), (("a", "c"), ("c", "late fusion"))])
def test_baselines_of_some_modalities_are_told_nothing_by_the_others(told_by_b, seen, others):
    where = ground("toy", ("e", 0, 1))
    assert levels(panel(where, "test/accuracy", TAG))["concatenation"] > 0.95
    blind = levels(panel(where, "test/accuracy", TAG, seen=seen))
    assert set(blind) == {"a", *others, "majority", "ensemble", "concatenation"}
    assert max(blind.values()) < 0.6


def test_a_modality_that_no_row_has_is_no_trouble(collected):
    source = grounded.columns(60)
    source["b"] = [None] * 59 + source["b"][59:]
    collected(grounded.table(source))
    where = ground("toy", ("e", 0, 1))
    found = levels(panel(where, "test/accuracy", TAG))
    assert all(np.isfinite(list(found.values())))
    assert "b" not in found
    assert found["ensemble"] == pytest.approx(found["a"])


def test_on_made_tables_every_draw_has_baselines_of_its_own():
    data = {"factors": {"rows": 80, "modalities": 2, "unique": 0, "noise": 0.2}}
    where = ground(data, ("e", 0, 1))
    found = levels(panel(where, "test/accuracy", ("panel", "e", 0, 1)))
    expected = []
    for unit in where.grounds.units:
        drawn = unit.place.load()
        said = np.array([int(label) for label in drawn.column("y").to_pylist()])
        learned = np.concatenate([unit.place.train, unit.place.validation])
        expected.append((said[unit.place.test] == np.bincount(said[learned]).argmax()).mean())
    assert found["majority"] == pytest.approx(np.mean(expected))
    assert found["concatenation"] > 0.9


def test_a_label_in_a_column_is_told_by_one(collected):
    source = grounded.columns(90, noise=2.5)
    collected(grounded.table(source))
    assert told_by_one(ground("toy", ("e", 0, 1)).grounds.units[0].place) < 0.9
    source["a"] = [[*cell[:3], 5.0 - i % 3] for i, cell in enumerate(source["a"])]
    collected(grounded.table(source))
    panels._of.cache_clear()
    assert told_by_one(ground("toy", ("e", 0, 1)).grounds.units[0].place) == 1.0


def test_there_is_no_panel_for_what_is_no_class(toy, collected):
    where = ground("toy", ("e", 0, 1))
    with pytest.raises(ValueError, match="no panel of baselines for retrieval"):
        panel(where, "retrieval/a->b/recall@1", TAG)
    collected(grounded.table({**grounded.columns(60), "label": [i + 0.5 for i in range(60)]}))
    with pytest.raises(ValueError, match="kind number"):
        panel(ground("toy", ("e", 0, 1)), "test/r2", TAG)
