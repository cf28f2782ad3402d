from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from plait.catalogue.experiments import collapse_and_corrupt as experiment
from plait.data.sets.factors import factors

DRAW = partial(factors, rows=120, shared=2, unique=0, target="shared", width=8, noise=0.2)


def made(monkeypatch, offset, spread=0.05):
    """Three classes on three axes; b lies where a does, moved by `offset`, in all but the test rows' labels alike."""
    rng = np.random.default_rng(0)
    y = experiment.codes(DRAW(), "y")
    parts = np.array(DRAW().column("split").to_pylist())
    a = np.eye(6)[y] + spread * rng.normal(size=(len(y), 6))
    found = {
        part: {name: (np.flatnonzero(parts == part), x[parts == part]) for name, x in (("a", a), ("b", a + offset))}
        for part in ("train", "test")
    }
    monkeypatch.setattr(experiment, "spaces", lambda *given: found)
    return experiment.Served(DRAW, 0)


def test_a_head_that_is_misled_by_the_gap_is_right_again_without_it(monkeypatch):
    # Along the axes that tell the first two classes apart.
    served = made(monkeypatch, np.array([2.0, -2.0, 0, 0, 0, 0]))
    assert served.right(False, False) < 0.6
    assert served.right(True, False) > 0.9
    assert served.right(True, True) > 0.9
    there = made(monkeypatch, np.zeros(6))
    assert all(there.right(*steps) > 0.95 for steps in ((False, False), (True, False), (False, True), (True, True)))


def test_means_are_those_of_training_rows(monkeypatch):
    served = made(monkeypatch, np.ones(6))
    for name, rows in (("a", served.learn[1]), ("b", served.judge[1])):
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        assert np.allclose(served.means[name], unit.mean(0)) == (name == "a")


def test_noise_is_for_teaching_alone(monkeypatch):
    seen = []
    monkeypatch.setattr(experiment, "corrupt", lambda x, **given: seen.append((len(x), given["noise"])) or x)
    served = made(monkeypatch, np.zeros(6))
    served.right(True, True)
    served.right(True, False)
    count = len(served.learn[0])
    assert seen == [(experiment.COPIES * count, experiment.NOISE), (count, 0.0)]


def test_the_space_is_trained_and_b_teaches_no_head(monkeypatch):
    fitted = []
    plain = experiment.LogisticRegression.fit
    monkeypatch.setattr(
        experiment.LogisticRegression, "fit", lambda self, x, *y: fitted.append(x) or plain(self, x, *y)
    )
    served = experiment.Served(DRAW, 0)
    assert served.right(False, False) > 0.4
    assert np.allclose(fitted[0], served.learn[1], atol=1e-6)
    assert served.judge[0].min() > served.learn[0].max()


def test_each_comparison_has_the_steps_that_it_names(monkeypatch):
    monkeypatch.setattr(experiment, "Served", lambda *given: SimpleNamespace(right=lambda *steps: steps))
    both, collapsed, noisy, neither = (True, True), (True, False), (False, True), (False, False)
    assert experiment.both_and_neither(DRAW, 0) == (both, neither)
    assert experiment.both_and_collapse(DRAW, 0) == (both, collapsed)
    assert experiment.both_and_corrupt(DRAW, 0) == (both, noisy)
    assert experiment.collapse_and_neither(DRAW, 0) == (collapsed, neither)
    assert experiment.corrupt_and_neither(DRAW, 0) == (noisy, neither)


def test_the_identities_hold():
    assert experiment.identities() == pytest.approx(0, abs=1e-12)
