"""Claims of measures: judged by fresh draws, or by one computation."""

import numpy as np
import pytest

from plait.catalogue import experiment, gates
from plait.catalogue.entry import Entry
from plait.core.errors import RecipeError

ON, OFF = {"factors": {"rows": 40, "noise": 0.1}}, {"factors": {"rows": 40, "noise": 0.2}}
HEAD = {
    "title": "A measure",
    "source": "arXiv:0000.00000",
    "family": "measures",
    "mechanism": "It measures.",
    "published": "It is right.",
    "carried_by": "measures/retrieval",
}


def planted(**more):
    claim = {"says": "it gains", "kind": "planted", "data": ON, "without": OFF, "measure": "error", "by": "x.y"}
    return Entry.parse({**HEAD, "claims": [{**claim, "expect": "higher", **more}]})


def exact(**more):
    claim = {"says": "it is 0", "kind": "exact", "data": "arrays", "measure": "gap", "by": "x.y"}
    return Entry.parse({**HEAD, "claims": [{**claim, "expect": "equal", "margin": 1e-6, **more}]})


@pytest.fixture
def asked(monkeypatch):
    """Gives the function that a claim asks; draws are made here."""
    monkeypatch.setattr(gates, "mechanism", lambda entry: gates.Gate(True, "green"))
    monkeypatch.setattr(experiment, "aside", _here)

    def give(function):
        monkeypatch.setattr(experiment, "_function", lambda claim: function)

    return give


class _here:
    def __init__(self, jobs):
        self.jobs = jobs

    def __enter__(self):
        return (job() for job in self.jobs)

    def __exit__(self, *error):
        pass


def noisy(gain_on, gain_off):
    """A measure that gains so much where cells have little noise, and so much where they have more."""

    def found(draw, seed):
        on = draw().fingerprint() == draw(noise=0.1).fingerprint()
        rng = np.random.default_rng(seed)
        return 0.5 + (gain_on if on else gain_off) + 0.01 * rng.normal(), 0.5 + 0.01 * rng.normal()

    return found


def test_a_gain_where_its_condition_is_on_holds_and_is_measured(asked):
    asked(noisy(0.1, 0.0))
    found = experiment.check(planted(), "e", 0, 1)
    assert found.record["verdict"] == "holds"
    assert found.record["difference"] == pytest.approx(0.1, abs=0.01)
    assert found.record["units"] == 20
    assert found.arrays["0/method"] - found.arrays["0/baseline"] == pytest.approx(0.1, abs=0.06)
    assert len(np.unique(found.arrays["0/baseline"])) == 20, "every draw has a seed of its own"


def test_a_gain_that_has_nothing_to_do_with_the_condition_contradicts_the_claim(asked):
    asked(noisy(0.1, 0.1))
    record = experiment.check(planted(), "e", 0, 1).record
    assert record["verdict"] == "contradicted"
    assert record["more"]["difference"] == pytest.approx(0, abs=0.01)


def test_what_loses_cannot_be_contradicted_by_itself(asked):
    asked(noisy(-0.1, 0.0))
    record = experiment.check(planted(), "e", 0, 1).record
    assert (record["verdict"], record["reason"]) == ("unclear", "gate control")


def test_red_tests_of_the_measure_stop_a_verdict(asked, monkeypatch):
    asked(noisy(0.1, 0.0))
    monkeypatch.setattr(gates, "mechanism", lambda entry: gates.Gate(False, "red"))
    record = experiment.check(planted(), "e", 0, 1).record
    assert (record["verdict"], record["reason"]) == ("unclear", "gate mechanism")


def test_attempts_draw_anew_and_equal_ones_alike(asked):
    asked(noisy(0.1, 0.0))
    one, same, other = (experiment.check(planted(), "e", 0, attempt).record["difference"] for attempt in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize(("value", "word"), [(0.0, "holds"), (1e-9, "holds"), (1e-3, "contradicted")])
def test_an_identity_holds_within_its_tolerance(asked, value, word):
    asked(lambda: value)
    assert experiment.check(exact(), "e", 0, 1).record["verdict"] == word


def test_today_s_code_confirms_only_what_it_still_says(asked):
    asked(noisy(0.1, 0.0))
    entry = planted()
    found = experiment.check(entry, "e", 0, 1)
    record = {**found.record, "attempt": 1}
    assert experiment.confirmed(entry, "e", 0, record, found.arrays)
    asked(noisy(0.12, 0.0))
    assert not experiment.confirmed(entry, "e", 0, record, found.arrays)


def test_what_is_not_there_is_said_with_what_was_meant():
    with pytest.raises(RecipeError, match=r"no experiment 'missingness_corrected'.*missingness_corrected_information"):
        experiment._function(planted(by="missingness_corrected.x").claims[0])
    with pytest.raises(RecipeError, match=r"no function 'equal_chance'.*equal_chances"):
        experiment._function(planted(by="missingness_corrected_information.equal_chance").claims[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"carried_by": "measures/retrievl"}, "no module plait.measures.retrievl"),
        ({"recipe": {"fusion": "mean"}}, "for measures"),
        ({"claims": [{"says": "x", "kind": "exact", "data": "arrays", "measure": "y", "expect": "equal"}]}, "by"),
    ],
)
def test_entries_of_measures_are_checked(change, message):
    plain = {**HEAD, "claims": [exact().claims[0].model_dump(exclude_none=True)]}
    with pytest.raises(RecipeError, match=message):
        Entry.parse({**plain, **change})
    with pytest.raises(RecipeError, match="a measure has no settings"):
        planted(searched="without")
