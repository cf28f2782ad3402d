import numpy as np
import pytest

from plait.catalogue.experiments import integration_encoding_test as experiment


def test_sites_answer_to_what_they_are_called():
    rng = np.random.default_rng(1)
    first, second = rng.choice([-1.0, 1.0], (2, 20_000))
    found = experiment.sites(first, second, 0)
    assert set(found) == set(experiment.KINDS)
    answers = {"a": first, "b": second, "product": first * second}
    for kind, recorded in found.items():
        assert recorded.shape == (20_000, experiment.SITES)
        assert recorded.var(0) == pytest.approx(1 + experiment.STATIC**2, rel=0.06)
        seen = {name: float((answer @ recorded / len(first)).mean()) for name, answer in answers.items()}
        half = 1 / np.sqrt(2)
        due = {"sum": {"a": half, "b": half}}.get(kind, {kind: 1.0})
        assert seen == pytest.approx({name: due.get(name, 0.0) for name in answers}, abs=0.02)


def test_noise_of_sites_is_their_own():
    quiet = experiment.sites(np.zeros(4000), np.zeros(4000), 0)
    every = np.concatenate(list(quiet.values()), 1)
    assert np.abs(np.corrcoef(every.T) - np.eye(every.shape[1])).max() < 0.1
