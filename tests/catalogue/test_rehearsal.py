import json

import numpy as np
import pytest
import yaml
from sound import EASY, HOPELESS, SOUND, compare, planted, training
from typer.testing import CliRunner

from plait.catalogue import entry as entries
from plait.catalogue import rehearsal
from plait.catalogue.grounds import ground
from plait.cli import app
from plait.core.errors import RecipeError

UNTRAINED = {"recipe": training(0), "baseline": training(0, objectives={"supervised": {"weight": 2.0}})}
"""Two recipes that say the same of every row."""


@pytest.fixture
def write(tmp_path, alone, monkeypatch):
    monkeypatch.setattr(entries, "ENTRIES", tmp_path)

    def write(*claims, recipe, baseline):
        written = {**SOUND, "recipe": recipe, "baseline": baseline, "claims": list(claims)}
        (tmp_path / "gate.yaml").write_text(yaml.safe_dump(written, sort_keys=False))

    return write


def test_what_learns_is_ahead_of_what_does_not_where_there_is_something_to_learn(write):
    write(compare(), planted(), recipe=training(6), baseline=training(0))
    found = rehearsal.rehearse("gate", 3)
    (claim,) = found["claims"]
    assert (claim["says"], claim["measure"]) == (planted()["says"], "test/accuracy"), "planted claims alone"
    on, off = claim["on"], claim["off"]
    assert (on["data"], off["data"]) == (EASY, HOPELESS)
    assert on["difference"] > 0.3
    assert on["method"] - on["baseline"] == pytest.approx(on["difference"])
    assert abs(off["difference"]) < 0.3
    assert claim["more"]["difference"] == pytest.approx(on["difference"] - off["difference"])
    assert on["interval"][0] < on["difference"] < on["interval"][1]


def test_arms_that_differ_in_nothing_are_equal(write):
    """Both have the same draws and the same seeds."""
    write(planted(), **UNTRAINED)
    (claim,) = rehearsal.rehearse("gate", 2)["claims"]
    for part in ("on", "off", "more"):
        assert claim[part]["difference"] == 0, part
        assert claim[part]["interval"] == [0, 0]


def test_no_check_uses_its_draws(write, monkeypatch):
    asked = []
    real = rehearsal.final

    def watched(grounds, arm, settings, measure, tag, u, s):
        asked.append(grounds.units[u].place)
        return real(grounds, arm, settings, measure, tag, u, s)

    monkeypatch.setattr(rehearsal, "final", watched)
    write(planted(), **UNTRAINED)
    rehearsal.rehearse("gate", 2)
    mine = {json.dumps(place.key()) for place in asked}
    assert len(mine) == 4, "two draws of either condition"
    for attempt in range(3):
        for data in (EASY, HOPELESS):
            grounds = ground(data, ("gate", 0, attempt)).grounds
            places = (*grounds.searches, *(unit.place for unit in grounds.units))
            theirs = {json.dumps(place.key()) for place in places}
            assert not mine & theirs


@pytest.mark.parametrize("draws", [0, 1, 21])
def test_other_numbers_of_draws_are_refused(write, draws):
    write(planted(), **UNTRAINED)
    with pytest.raises(RecipeError, match="2 to 20 draws"):
        rehearsal.rehearse("gate", draws)


def test_without_a_planted_claim_there_is_nothing_to_rehearse(write):
    write(compare(), **UNTRAINED)
    with pytest.raises(RecipeError, match="gate has no planted claim"):
        rehearsal.rehearse("gate", 2)


def test_measures_have_no_arms():
    with pytest.raises(RecipeError, match="trains no two arms"):
        rehearsal.rehearse("blind_pairs", 2)


def test_by_the_command_nothing_is_recorded(write, tmp_path, monkeypatch):
    monkeypatch.setattr("plait.catalogue.evidence.EVIDENCE", tmp_path / "evidence")
    write(planted(), recipe=training(6), baseline=training(0))
    found = CliRunner().invoke(app, ["claim", "gate", "--rehearse", "2", "--json"])
    assert found.exit_code == 0, found.output
    account = json.loads(found.stdout)
    assert account == json.loads(json.dumps(rehearsal.rehearse("gate", 2)))
    told = CliRunner().invoke(app, ["claim", "gate", "--rehearse", "2"], env={"COLUMNS": "200"})
    assert f"{account['claims'][0]['on']['difference']:+.3g}" in told.output
    assert not (tmp_path / "evidence").exists()


@pytest.mark.parametrize("other", [["--keep"], ["--again"], ["--confirm"], ["--out", "here"]])
def test_a_rehearsal_is_no_attempt(other):
    found = CliRunner().invoke(app, ["claim", "proxy_token", "--rehearse", "2", *other])
    assert found.exit_code == 2
    assert "--rehearse" in found.output


def test_its_interval_is_students(write, monkeypatch):
    """By hand, of three differences."""
    values = iter([0.9, 0.8, 0.7, 0.5, 0.6, 0.5, *[0.5] * 6])
    monkeypatch.setattr(rehearsal, "run_all", lambda jobs: iter([[Said(next(values))] for _ in jobs]))
    write(planted(), **UNTRAINED)
    (claim,) = rehearsal.rehearse("gate", 3)["claims"]
    gaps = np.array([0.4, 0.2, 0.2])
    half = 4.302653 * gaps.std(ddof=1) / np.sqrt(3)
    assert claim["on"]["interval"] == pytest.approx([gaps.mean() - half, gaps.mean() + half], abs=1e-6)
    assert claim["more"]["interval"] == pytest.approx(claim["on"]["interval"])


class Said:
    def __init__(self, value):
        self.value = value
