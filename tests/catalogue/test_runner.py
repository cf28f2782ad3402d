import json
import math
from dataclasses import replace

import grounded
import numpy as np
import pytest
import yaml
from sound import EASY, HOPELESS, SOUND, compare, planted, training
from typer.testing import CliRunner

from plait.catalogue import check as checks
from plait.catalogue import entry as entries
from plait.catalogue import evidence, gates, grounds, ledger, runner
from plait.catalogue import panel as panels
from plait.cli import app, screen, show
from plait.core.errors import DataError, RecipeError, RunError
from plait.data.cache import cache_root
from plait.workflow import defaults, nested, trials
from plait.workflow.nested import Judged, Searched
from plait.workflow.run import locked
from plait.workflow.trials import Outcome

PROMISED = {"says", "kind", "data", "regime", "verdict", "reason", "difference", "interval", "resolution", "gates"}
GATES = {"mechanism", "alive", "control", "trained", "headroom", "self_null", "strong", "leak"}


@pytest.fixture(autouse=True)
def machine(alone, few, monkeypatch, tmp_path):
    """The whole machine, small: three draws, recipes as they stand, and tests that pass."""
    small = {**grounded.SMALL, "training": {**grounded.SMALL["training"], "epochs": 4}}
    inner = defaults.default_recipe
    brief = {key: small[key] for key in ("width", "embedding", "training", "fusion")}
    monkeypatch.setattr(defaults, "default_recipe", lambda schema: {**inner(schema), **brief})
    monkeypatch.setattr(nested, "TRIALS", 1)
    monkeypatch.setattr(panels, "STRENGTHS", (1e-3, 1.0))
    monkeypatch.setattr(gates, "TESTS", tmp_path)
    monkeypatch.setattr(gates, "_tests", lambda paths: (True, "1 passed"))
    monkeypatch.setattr(entries, "ENTRIES", tmp_path / "entries")
    (tmp_path / "entries").mkdir()


@pytest.fixture
def weak_panel(monkeypatch):
    monkeypatch.setattr(checks, "panel", levelled(0.3))


def levelled(value):
    """A panel of one, which has the same value wherever it is judged."""

    def panel(ground, *how, seen):
        finals = [
            [Outcome(value, np.full(len(unit.place.test), value), None, None, True, 0.0)]
            for unit in ground.grounds.units
        ]
        return {"majority": Judged(Searched([()], np.zeros((0, 1))), finals)}

    return panel


@pytest.fixture
def check(tmp_path):
    """Write an entry and check it; -> what was recorded."""

    def run(*claims, recipe=None, baseline=None, replicate=False, again=False, keep=False, folder="evidence", **more):
        arms = {"recipe": recipe or training(6), "baseline": baseline or training(0)}
        written = {**SOUND, **arms, "claims": list(claims), **more}
        (tmp_path / "entries/gate.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
        return runner.claim("gate", folder=tmp_path / folder, replicate=replicate, again=again, keep=keep)

    return run


def word(account, at=0):
    return account["claims"][at]["verdict"], account["claims"][at]["reason"]


def strict(path):
    def refuse(constant):
        raise AssertionError(f"{constant} in {path}")

    return json.loads(path.read_text(), parse_constant=refuse)


def timeless(found):
    """Without what the clock says."""
    if isinstance(found, dict):
        return {key: timeless(value) for key, value in found.items() if key not in ("seconds", "at")}
    return [timeless(value) for value in found] if isinstance(found, list) else found


def test_a_straw_man_as_baseline_is_found_out(check):
    """It is far worse than the method, and than anything simple."""
    account = check(planted())
    assert word(account) == ("unclear", "gate strong")
    record = account["claims"][0]
    assert record["interval"][0] > 0.1
    assert record["gates"]["strong"]["passed"] is False
    assert account["verdict"] == "unclear"


def test_a_method_above_the_panel_holds_whatever_its_baseline_is(check, monkeypatch):
    """The baseline did not train; the method is better than the best simple one, beyond doubt, or is not."""
    record = check(planted())["claims"][0]
    assert record["baseline"] + 0.1 < record["method"]
    for value, word_of_it in (
        (record["method"], ("unclear", "gate strong")),
        (record["baseline"] + 0.05, ("holds", "")),
    ):
        monkeypatch.setattr(checks, "panel", levelled(value))
        assert word(check(planted(), again=True)) == word_of_it


def test_a_claim_of_one_modality_is_held_against_what_that_one_can_do(check, monkeypatch):
    """The other one alone says all; whether the method beats that is another question."""

    def panel(ground, *how, seen):
        return levelled(1.0 if seen is None or "b" in seen else 0.3)(ground, *how, seen=seen)

    monkeypatch.setattr(checks, "panel", panel)
    assert word(check(planted())) == ("unclear", "gate strong")
    before = evidence.depends_on(entries.load("gate"), 0)
    assert word(check(planted(), predicts_from=["$1"])) == ("holds", "")
    assert evidence.depends_on(entries.load("gate"), 0) != before, "another panel, so another verdict"


def test_a_method_that_gains_holds(check, weak_panel):
    account = check(planted())
    assert word(account) == ("holds", "")
    record = account["claims"][0]
    assert record["more"]["interval"][0] > 0
    assert record["without"]["data"] == HOPELESS
    assert account["verdict"] == "holds"


def test_a_gain_that_does_not_depend_on_the_condition_does_not_hold(check, weak_panel):
    """The same data on both sides: what is gained is gained without the condition."""
    account = check(planted(without=EASY))
    assert account["claims"][0]["interval"][0] > 0
    assert word(account)[0] != "holds"
    assert account["claims"][0]["more"]["difference"] == 0


@pytest.fixture
def twice(monkeypatch):
    """A claim that gains, and more where its condition is off.  -> how often arms were searched."""
    monkeypatch.setattr(grounds, "DRAWS", 7)
    inner, searched = checks.judge, []

    def counted(grounds, arms, measure, *, settings, **how):
        if settings is None:
            searched.append(arms)
        return inner(grounds, arms, measure, settings=settings, **how)

    monkeypatch.setattr(checks, "judge", counted)
    return searched


HARDER = {"factors": {**EASY["factors"], "noise": 1.0}}


def test_what_gains_more_without_its_condition_is_contradicted_once_searched_there_too(check, weak_panel, twice):
    record = check(planted(data=HARDER, without=EASY))["claims"][0]
    assert (record["verdict"], record["interval"][0] > 0) == ("contradicted", True)
    assert len(twice) == 2
    # One trial of each arm, so the search finds what there was.
    assert record["more_searched"] == record["more"]
    assert record["without_searched"]["interval"] == record["without"]["interval"]
    assert record["more"]["interval"][1] < 0


def test_a_claim_is_not_contradicted_by_settings_that_suit_one_arm_better(check, weak_panel, twice, monkeypatch):
    """Where the condition is off, its own search makes the baseline as good as the method."""
    counted = checks.judge

    def helped(grounds, arms, measure, *, settings, **how):
        if settings is None and twice:
            arms = [arms[0], replace(arms[0], name="baseline", seeds=arms[1].seeds)]
        return counted(grounds, arms, measure, settings=settings, **how)

    monkeypatch.setattr(checks, "judge", helped)
    record = check(planted(data=HARDER, without=EASY))["claims"][0]
    assert (record["verdict"], record["reason"]) == ("unclear", "settings")
    assert record["without_searched"]["difference"] == 0
    assert record["more"]["interval"][1] < 0 < record["more_searched"]["interval"][0]


def test_what_is_not_contradicted_is_not_searched_where_its_condition_is_off(check, weak_panel, twice):
    assert word(check(planted())) == ("holds", "")
    assert len(twice) == 1


@pytest.mark.parametrize("searched", ["data", "without"])
def test_what_comes_unforeseen_at_test_is_not_searched_by(check, weak_panel, monkeypatch, searched):
    inner, given = checks.judge, []
    monkeypatch.setattr(
        checks, "judge", lambda grounds, *how, **more: given.append(grounds) or inner(grounds, *how, **more)
    )
    record = check(planted(data=HARDER, without=EASY, searched=searched))["claims"][0]
    assert record["regime"].endswith("; settings found where it is off") == (searched == "without")
    on, off = ([unit.place.content for unit in grounds.units] for grounds in given)
    both = {"data": HARDER, "without": EASY}
    drawn = {name: grounds.ground(data, ("gate", 0, 1)).grounds.searches for name, data in both.items()}
    assert [place.content for place in given[0].searches] == [place.content for place in drawn[searched]]
    assert not {*on, *off} & {place.content for places in drawn.values() for place in places}
    assert not {*on} & {*off}


def test_where_a_claim_is_searched_is_in_its_fingerprint_only_where_it_is_said(check, weak_panel):
    check(planted(data=HARDER, without=EASY))
    plain = entries.load("gate")
    assert "searched" not in plain.claims[0].asked()
    before = evidence.asked_of(plain, 0), evidence.depends_on(plain, 0)
    check(planted(data=HARDER, without=EASY, searched="without"))
    other = entries.load("gate")
    assert other.claims[0].asked()["searched"] == "without"
    assert not {*before} & {evidence.asked_of(other, 0), evidence.depends_on(other, 0)}


def test_a_method_that_loses_is_not_contradicted_without_a_control(check, weak_panel, monkeypatch):
    monkeypatch.setattr(grounds, "DRAWS", 7)
    hard = {"factors": {**EASY["factors"], "noise": 1.0}}
    account = check(planted(data=hard), recipe=training(0), baseline=training(8))
    assert account["claims"][0]["interval"][1] < 0
    assert word(account) == ("unclear", "gate control")


@pytest.fixture
def toy(collected):
    return collected(grounded.table(grounded.columns(120, noise=2.0)))


LOWER = compare("lower", says="It loses on real rows.", margin=0.12)


def test_what_gains_on_planted_data_can_be_contradicted_elsewhere(check, weak_panel, toy, monkeypatch):
    monkeypatch.setattr(grounds, "DRAWS", 7)
    account = check(LOWER, planted())
    assert [one["verdict"] for one in account["claims"]] == ["contradicted", "holds"], account["claims"]
    assert [one["says"] for one in account["claims"]] == [LOWER["says"], planted()["says"]]
    assert account["verdict"] == "contradicted"
    assert account["claims"][0]["difference"] > 0
    assert account["claims"][0]["units"] == 5


def test_without_planted_claims_nothing_is_contradicted(check, weak_panel, toy):
    assert word(check(LOWER)) == ("unclear", "gate control")


def test_a_mechanism_that_does_nothing_is_not_not_lower(check, weak_panel):
    inert = training(2, objectives={"supervised": {}, "info_nce": {"weight": 0.0}})
    off = {"recipe": ["objectives.info_nce.weight=0"]}
    account = check(planted("not_lower"), recipe=inert, baseline=training(2), disabled=off)
    assert account["claims"][0]["difference"] == 0
    assert word(account) == ("unclear", "gate alive")


def test_tests_that_fail_make_it_unclear(check, weak_panel, monkeypatch):
    monkeypatch.setattr(gates, "_tests", lambda paths: (False, "1 failed"))
    assert word(check(planted())) == ("unclear", "gate mechanism")


COUNTED = {"kind": "exact", "data": EASY, "measure": "cost/parameters"}


@pytest.mark.parametrize(
    ("expect", "verdict"),
    [("higher", "holds"), ("lower", "contradicted"), ("equal", "contradicted"), ({"at_least": 100}, "holds")],
)
def test_counts_are_exact(check, expect, verdict, monkeypatch):
    """Concatenation has two maps of 8 x 8 with bias that the mean has not."""
    monkeypatch.setattr(trials, "train", None)
    claim = {**COUNTED, "says": "It has more parameters.", "expect": expect}
    account = check(claim, recipe=training(1), baseline=training(1, fusion={"mean": {}}), replicate=True)
    record = account["claims"][0]
    assert word(account) == (verdict, "")
    if isinstance(expect, str):
        assert record["difference"] == 2 * (8 * 8 + 8)
    assert record["interval"] == [record["difference"]] * 2
    assert (record["resolution"], record["replication"]) == (0, None)


def test_equal_counts_are_equal(check):
    claim = {**COUNTED, "says": "It costs the same.", "expect": "equal"}
    assert word(check(claim, recipe=training(1), baseline=training(2))) == ("holds", "")


TIMED = {"kind": "time", "data": EASY, "measure": "cost/seconds", "expect": "higher"}


def test_times_are_told_in_turns_and_have_no_say_in_the_verdict(check, monkeypatch):
    """The method takes twice as long, whatever the machine does besides: both get slower as the check goes on."""
    inner, asked = trials.outcome, []

    def slower(trial):
        asked.append("mean" not in trial.recipe.fusion)
        return replace(inner(trial), seconds=(2.0 if asked[-1] else 1.0) * 1.3 ** ((len(asked) - 1) // 2))

    monkeypatch.setattr("plait.catalogue.check.outcome", slower)
    arms = {"recipe": training(1), "baseline": training(1, fusion={"mean": {}})}
    counted = {**COUNTED, "says": "It has more parameters.", "expect": "higher"}
    account = check(counted, {**TIMED, "says": "It takes longer."}, replicate=True, **arms)
    assert account["verdict"] == "holds"
    record = account["claims"][1]
    assert (record["verdict"], record["reason"], record["replication"]) == ("informative", "", None)
    assert asked == [True, False] * 8
    assert record["interval"] == pytest.approx([math.log(2)] * 2)
    assert show.as_times(record) == "takes 2.00 times as long [2.00, 2.00]"


@pytest.mark.parametrize("wrong", [{"measure": "test/accuracy"}, {"kind": "compare"}])
def test_times_are_of_seconds_and_seconds_of_times(check, wrong):
    with pytest.raises(RecipeError, match="a claim of kind time, and no other, is of the measure cost/seconds"):
        check({**TIMED, "says": "It takes longer.", **wrong})


def test_a_range_for_what_both_are_tuned_by_is_one_for_both(check, monkeypatch):
    monkeypatch.setattr(nested, "TRIALS", 4)
    path = "training.optimizer.adamw.lr"
    account = check(planted(), knobs={path: {"log": [0.02, 0.03]}, "training.clip": {"linear": [0.5, 1.0]}})
    method, baseline = (account["claims"][0]["search"][arm]["settings"] for arm in ("method", "baseline"))
    tried = [[dict(said.split("=") for said in settings) for settings in arm[1:4]] for arm in (method, baseline)]
    assert all(0.02 <= float(settings[path]) <= 0.03 for arm in tried for settings in arm)
    assert [settings[path] for settings in tried[0]] == [settings[path] for settings in tried[1]]
    assert all("training.clip" in settings for settings in tried[0])
    assert not any("training.clip" in settings for settings in tried[1])


def test_what_cannot_be_counted_is_said(check):
    with pytest.raises(DataError, match="counts cost/multiply_adds or cost/parameters"):
        check({**COUNTED, "says": "It is fast.", "measure": "test/accuracy", "expect": "higher"})


def test_the_same_code_repeats_the_attempt_and_the_verdict_bit_for_bit(check, monkeypatch, tmp_path):
    first = check(planted())
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "other"))
    fresh = check(planted(), folder="anew")
    assert timeless(fresh) == timeless(first)

    def forbidden(*given, **how):
        raise AssertionError("trained again")

    monkeypatch.setattr(trials, "train", forbidden)
    again = check(planted())
    assert timeless(again) == timeless(first)
    said = ledger.lines(tmp_path / "evidence")
    assert [line["state"] for line in said] == ["begun", "done"] * 2
    assert {line["attempt"] for line in said} == {1}
    assert {line["verdict"] for line in said if line["state"] == "done"} == {first["claims"][0]["verdict"]}
    with np.load(tmp_path / "evidence/gate.npz") as one, np.load(tmp_path / "anew/gate.npz") as two:
        assert set(one) == set(two)
        assert all(np.array_equal(one[key], two[key]) for key in one)


def test_another_attempt_has_draws_of_its_own_and_other_code_has_not(check, monkeypatch, tmp_path):
    first = check(planted())
    monkeypatch.setattr(runner, "depends_on", lambda entry, at=None: "0" * 32)
    second, third = check(planted()), check(planted(), again=True)
    assert [one["claims"][0]["attempt"] for one in (first, second, third)] == [1, 1, 2]
    assert first["claims"][0]["interval"] == second["claims"][0]["interval"] != third["claims"][0]["interval"]
    assert len(ledger.lines(tmp_path / "evidence")) == 6


def test_evidence_is_confirmed_where_trainings_say_the_same(check, monkeypatch, tmp_path):
    """Nothing is searched again; a weight that is another is seen."""
    folder = tmp_path / "evidence"
    check(planted())
    assert runner.confirm("gate", folder=folder)["confirmed"] == [planted()["says"]]
    monkeypatch.setattr(runner, "depends_on", lambda entry, at=None: "1" * 32)
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "other"))
    inner, count = trials.train, []

    def counted(*given, **how):
        count.append(how["seed"])
        return inner(*given, **how)

    monkeypatch.setattr(trials, "train", counted)
    assert runner.confirm("gate", folder=folder)["changed"] == []
    assert len(count) == 2
    recorded = json.loads((folder / "gate.json").read_text())
    assert {recorded["fingerprint"], recorded["claims"][0]["fingerprint"]} == {"1" * 32}
    assert ledger.lines(folder)[-1]["state"] == "confirmed"

    def other(*given, **how):
        return inner(*given, **{**how, "seed": how["seed"] + 1})

    monkeypatch.setattr(trials, "train", other)
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "third"))
    monkeypatch.setattr(runner, "depends_on", lambda entry, at=None: "2" * 32)
    assert runner.confirm("gate", folder=folder)["confirmed"] == []
    assert json.loads((folder / "gate.json").read_text()) == recorded


def test_what_is_confirmed_beside_what_is_not_need_not_be_checked_again(check, monkeypatch, tmp_path):
    folder = tmp_path / "evidence"
    first, other = planted(), planted(says="It gains there, too.", data=HARDER)
    check(first, other)
    moved = {**other, "data": EASY}
    written = {**SOUND, "recipe": training(6), "baseline": training(0), "claims": [first, moved]}
    (tmp_path / "entries/gate.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    inner = evidence.depends_on
    monkeypatch.setattr(runner, "depends_on", lambda entry, at=None: inner(entry, at)[::-1])
    monkeypatch.setattr(evidence, "depends_on", runner.depends_on)
    account = runner.confirm("gate", folder=folder)
    assert (account["confirmed"], account["changed"]) == ([first["says"]], [other["says"]])
    assert evidence.stale(entries.load("gate"), evidence.read("gate", folder))
    asked, whole = [], checks.check
    monkeypatch.setattr(
        runner,
        "check",
        lambda entry, name, at, *how, **more: (asked.append(at), whole(entry, name, at, *how, **more))[1],
    )
    check(first, moved, keep=True)
    assert asked == [1]
    assert not evidence.stale(entries.load("gate"), evidence.read("gate", folder))


def test_code_that_changes_during_a_check_leaves_it_stale(check, monkeypatch, tmp_path):
    inner, today = evidence.depends_on, []
    monkeypatch.setattr(runner, "depends_on", lambda entry, at=None: inner(entry, at) if not today else "0" * 32)
    whole = checks.check

    def meanwhile(*how, **more):
        today.append("changed")
        return whole(*how, **more)

    monkeypatch.setattr(runner, "check", meanwhile)
    account = check(planted(), compare(data=EASY, kind="planted", without=HOPELESS, says="Another."))
    assert account["fingerprint"] == inner(entries.load("gate"))
    assert account["claims"][1]["fingerprint"] == "0" * 32


def test_evidence_is_confirmed_in_other_words_for_the_same_trainings(check, monkeypatch, tmp_path):
    folder = tmp_path / "evidence"

    def entry(name):
        own = {"objectives": {"supervised": {}, "info_nce": {"hub": name, "weight": 0.1}}}
        return {**SOUND, "recipe": training(6, **own), "baseline": training(0, **own), "claims": [planted()]}

    def again(written):
        (tmp_path / "entries/gate.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
        return runner.confirm("gate", folder=folder)

    first = entry("a")
    check(planted(), recipe=first["recipe"], baseline=first["baseline"])
    asked = json.loads((folder / "gate.json").read_text())["claims"][0]["asked"]
    assert again(entry("$1"))["changed"] == []
    assert json.loads((folder / "gate.json").read_text())["claims"][0]["asked"] != asked
    assert not evidence.stale(entries.load("gate"), evidence.read("gate", folder))
    assert again(entry("$2"))["confirmed"] == []
    assert again({**entry("$1"), "repeats": 2})["confirmed"] == []
    assert again({**entry("$1"), "knobs": {"objectives.info_nce.weight": {"log": [0.1, 1]}}})["confirmed"] == []
    assert again({**entry("$1"), "claims": [planted(expect="not_lower")]})["confirmed"] == []


def test_what_is_kept_is_not_trained_and_says_what_planted_claims_let_it_say(
    check, weak_panel, toy, monkeypatch, tmp_path
):
    """Real rows may contradict a claim only where the method gains on planted ones: that alone is asked anew."""
    monkeypatch.setattr(grounds, "DRAWS", 7)
    hopeless = planted(data=HOPELESS, without=EASY)
    first = check(LOWER, hopeless)
    assert word(first) == ("unclear", "gate control")
    inner, asked = runner.check, []
    monkeypatch.setattr(runner, "check", lambda *given, **how: asked.append(given[2]) or inner(*given, **how))
    assert timeless(check(LOWER, hopeless, keep=True)["claims"]) == timeless(first["claims"])
    assert not asked

    kept = {key: value for key, value in arrays(tmp_path).items() if key.startswith("0/")}
    better = check(LOWER, planted(), keep=True)
    assert asked == [1]
    assert [word(better, at) for at in (0, 1)] == [("contradicted", ""), ("holds", "")]
    assert better["claims"][0]["gates"]["control"]["passed"] is True
    assert better["claims"][0]["seconds"] == first["claims"][0]["seconds"]
    for key, value in kept.items():
        np.testing.assert_array_equal(arrays(tmp_path)[key], value)

    path = tmp_path / "evidence/gate.json"
    better["claims"][0]["replication"] = {"verdict": "contradicted"}
    path.write_text(json.dumps(better))
    worse = check(LOWER, hopeless, keep=True)
    assert word(worse) == ("unclear", "gate control")
    assert worse["claims"][0]["replication"] is None, "it was of another word"
    assert asked == [1, 1]
    monkeypatch.setattr(runner, "depends_on", lambda entry, at=None: "0" * 32)
    assert word(check(LOWER, hopeless, keep=True)) == ("unclear", "gate control")
    assert asked == [1, 1, 1, 0], "of other code nothing is kept"


def arrays(folder):
    with np.load(folder / "evidence/gate.npz") as file:
        return {key: file[key] for key in file.files}


def test_what_was_never_checked_cannot_be_confirmed(check, tmp_path):
    (tmp_path / "entries/gate.yaml").write_text(yaml.safe_dump(SOUND))
    with pytest.raises(RunError, match="never checked"):
        runner.confirm("gate", folder=tmp_path / "evidence")


def test_a_check_that_was_stopped_stays_in_the_ledger(check, monkeypatch, tmp_path):
    grounded.stopping(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        check(planted())
    assert not (tmp_path / "evidence/gate.json").exists()
    assert [line["state"] for line in ledger.lines(tmp_path / "evidence")] == ["begun"]
    resumed = check(planted())
    assert resumed["claims"][0]["attempt"] == 1


def test_evidence_has_what_is_promised_and_is_strict_json(check, weak_panel, toy, tmp_path):
    account = check(planted(), compare(), {**COUNTED, "says": "Counts.", "expect": "equal"})
    written = strict(tmp_path / "evidence/gate.json")
    assert written == account
    assert {"name", "claims", "fingerprint", "versions", "seconds", "verdict"} <= set(written)
    assert written["fingerprint"] == evidence.depends_on(entries.load("gate"))
    for record in written["claims"]:
        assert set(record) >= PROMISED
        assert record["verdict"] in ("holds", "unclear", "contradicted")
        low, high = record["interval"]
        assert low <= record["difference"] <= high
        if record["kind"] == "exact":
            continue
        assert set(record["gates"]) == GATES
        assert all(set(gate) == {"passed", "seen"} for gate in record["gates"].values())
        assert record["method"] - record["baseline"] == pytest.approx(record["difference"], abs=0.03)
    assert written["claims"][0]["regime"] == "rows 120, modalities 2, unique 0, noise 0.3"
    assert written["claims"][1]["regime"] == "as it is"
    for line in (tmp_path / "evidence" / ledger.LEDGER).read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
    with np.load(tmp_path / "evidence/gate.npz") as kept:
        assert {key.split("/")[0] for key in kept} == {"0", "1"}
        assert {key for key in kept if key.startswith("1/method")} == {f"1/method/{u}" for u in (*range(5), "witness")}
        assert {key for key in kept if "without" in key and "rows" not in key} == {
            f"0/without/{arm}/{u}" for arm in ("method", "baseline") for u in (*range(3), "witness")
        }
        rows = np.concatenate([kept[f"1/rows/{u}"] for u in range(5)])
        assert sorted(rows) == list(range(len(kept["1/groups"])))
        assert all(len(kept[f"1/rows/{u}"]) == len(kept[f"1/method/{u}"]) for u in range(5))


def test_a_measure_that_breaks_down_is_null_and_never_a_verdict(check, weak_panel, tmp_path):
    broken = training(3, training={**training(3)["training"], "clip": None, "optimizer": {"sgd": {"lr": 1e30}}})
    account = check(planted(measure="test/log_loss", expect="lower"), recipe=broken, baseline=training(1))
    assert account["verdict"] == "unclear"
    assert account["claims"][0]["gates"]["trained"]["passed"] is False
    assert strict(tmp_path / "evidence/gate.json") == account


def test_a_measure_that_breaks_down_names_the_gate(check, weak_panel):
    broken = training(3, training={**training(3)["training"], "clip": None, "optimizer": {"sgd": {"lr": 1e30}}})
    account = check(planted(measure="test/log_loss", expect="lower"), recipe=broken, baseline=training(1))
    assert word(account) == ("unclear", "gate trained")


def test_where_embeddings_are_judged_labels_and_panel_have_no_say(check, toy):
    align = {"objectives": {"info_nce": {}}, "projection": {"linear": {}}}
    claim = compare(measure="retrieval/a->b/recall@5", margin=0.12)
    account = check(claim, recipe=training(8, **align), baseline=training(0, **align))
    record = account["claims"][0]
    assert record["difference"] > gates.LARGE
    assert record["gates"]["leak"]["passed"] is None
    assert record["gates"]["strong"]["passed"] is None
    assert word(account) == ("holds", "")


def test_what_holds_is_looked_at_again_with_fresh_seeds(check, weak_panel):
    again = {"factors": {**EASY["factors"], "noise": 0.4}}
    account = check(planted(), replicate=True)
    record = account["claims"][0]
    assert record["replication"]["verdict"] == "holds"
    assert record["replication"]["interval"] != record["interval"]
    assert record["replication"]["data"] == EASY
    other = check(planted(replicate=again), replicate=True)["claims"][0]
    assert other["replication"]["data"] == again
    assert check(planted())["claims"][0]["replication"] is None


def test_what_is_unclear_is_not_looked_at_again(check):
    assert check(planted(), replicate=True)["claims"][0]["replication"] is None


def test_two_at_once_on_one_entry_are_refused(check, tmp_path):
    with locked(cache_root() / "checks" / "gate"), pytest.raises(RunError, match="Another process"):
        check(planted())
    assert not (tmp_path / "evidence").exists()


def test_a_damaged_ledger_stops_before_anything_is_done(check, monkeypatch, tmp_path):
    monkeypatch.setattr(trials, "train", None)
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / ledger.LEDGER).write_text("{\n")
    with pytest.raises(RunError, match="line 1, is damaged"):
        check(planted())


def test_an_unknown_entry_is_said():
    with pytest.raises(RecipeError, match="no entry 'gat'"):
        runner.claim("gat")


def call(*arguments, status=0):
    done = CliRunner().invoke(app, ["claim", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done


def test_the_command_says_json_on_stdout_alone_and_progress_elsewhere(check, tmp_path, monkeypatch):
    monkeypatch.setattr(screen, "SECONDS", 0.0)
    expected = check(planted())
    done = call("gate", "--out", tmp_path / "evidence", "--json")
    found = json.loads(done.stdout, parse_constant=pytest.fail)
    assert timeless(found) == timeless(expected)
    assert found == strict(tmp_path / "evidence/gate.json")
    said = done.stderr.splitlines()
    assert said[0] == "gate"
    assert any("of" in line and "trials" in line for line in said[1:])


def test_people_see_the_verdict_with_its_reason_data_and_interval(check, tmp_path):
    (record,) = check(planted())["claims"]
    shown = " ".join(call("gate", "--out", tmp_path / "evidence").stdout.split())
    for part in ("factors", "unclear: gate", "strong", f"{record['difference']:+.3g}", f"{record['resolution']:.2g}"):
        assert part in shown


def test_a_broken_measure_is_shown_as_none(check, tmp_path):
    from plait.cli import show

    record = {
        "says": "It.",
        "kind": "planted",
        "data": "toy",
        "regime": "as it is",
        "verdict": "unclear",
        "reason": "",
        "resolution": None,
    }
    assert show.claims([{"name": "gate", "claims": [{**record, "difference": None, "interval": [None, None]}]}])


def test_all_entries_are_a_list_and_one_is_not(check, tmp_path):
    check(planted())
    found = json.loads(call("--all", "--out", tmp_path / "evidence", "--json").stdout)
    assert [one["name"] for one in found] == ["gate"]
    found = json.loads(call("gate", "gate", "--out", tmp_path / "evidence", "--json").stdout)
    assert found["name"] == "gate"


@pytest.mark.parametrize("arguments", [(), ("gate", "--all")])
def test_entries_are_named_or_all_are_asked_for(arguments):
    done = call(*arguments, status=2)
    assert done.stdout == ""
    assert "name entries, or say --all" in " ".join(done.stderr.split())


def test_an_unknown_entry_is_refused_before_the_first_one_is_checked(check, monkeypatch, tmp_path):
    check(planted())
    monkeypatch.setattr(runner, "claim", None)
    done = call("gate", "gat", "--out", tmp_path / "evidence", status=2)
    assert done.stdout == ""
    assert done.stderr.count("Error: ") == 1
    assert "no entry 'gat'" in done.stderr


def test_what_is_shown_of_an_entry_is_what_was_seen(check, monkeypatch, tmp_path):
    check(planted())
    monkeypatch.setattr(evidence, "EVIDENCE", tmp_path / "evidence")
    done = CliRunner().invoke(app, ["catalogue", "show", "gate", "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["evidence"]["claims"][0]["reason"] == "gate strong"
    (line,) = json.loads(CliRunner().invoke(app, ["catalogue", "--json"], catch_exceptions=False).stdout)
    assert (line["verdict"], line["stale"]) == ("unclear", False)
    path = tmp_path / "entries/gate.yaml"
    path.write_text(path.read_text().replace("epochs: 6", "epochs: 7"))
    (line,) = json.loads(CliRunner().invoke(app, ["catalogue", "--json"], catch_exceptions=False).stdout)
    assert line["stale"]
