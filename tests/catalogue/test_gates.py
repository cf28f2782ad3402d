from dataclasses import replace
from types import SimpleNamespace

import grounded
import numpy as np
import pytest
from sound import SOUND

from plait.catalogue import entry as entries
from plait.catalogue import gates
from plait.catalogue.check import failing
from plait.catalogue.entry import AtLeast, Entry
from plait.catalogue.gates import Gate
from plait.catalogue.grounds import ground
from plait.catalogue.results import Results
from plait.catalogue.verdict import Estimate
from plait.workflow.defaults import resolve
from plait.workflow.nested import Judged, Searched
from plait.workflow.trials import Outcome

pytestmark = pytest.mark.usefixtures("alone", "few")

PLANTED = {"factors": {"rows": 120, "modalities": 2, "unique": 0}}
TAG = ("gate", 0, 1)


def entry(recipe, baseline, disabled=None, **more):
    return Entry.parse(
        {**SOUND, "recipe": {**grounded.SMALL, **recipe}, "baseline": {**grounded.SMALL, **baseline}, **more}
        | {"disabled": disabled}
    )


def arms(made, of):
    return {arm: resolve(made.grounds.schema, getattr(of, arm)) for arm in ("recipe", "baseline")}


def alive(of, measure="test/accuracy"):
    where = ground(PLANTED, TAG)
    found = arms(where, of)
    return gates.alive(of, where, {"method": found["recipe"], "baseline": found["baseline"]}, measure, TAG)


DROPPED = {"fusion": {"concatenation": {"dropout": 0.8}}}
OFF = "fusion.concatenation.dropout=0"
NONE = {"fusion": {"concatenation": {"dropout": 0.0}}}


def test_what_can_be_turned_off_and_changes_something_is_alive():
    found = alive(entry(DROPPED, NONE, {"recipe": [OFF]}))
    assert found.passed, found.seen
    assert "equal bit for bit" in found.seen


def test_a_switch_that_is_stuck_is_seen():
    found = alive(entry(DROPPED, NONE, {"recipe": ["fusion.concatenation.dropout=0.7"]}))
    assert found.passed is False
    assert "turned off, the arms are not equal" in found.seen


def test_a_mechanism_that_does_nothing_is_dead():
    """Weight 0 is absence, bit for bit."""
    extra = {"objectives": {"supervised": {}, "info_nce": {"weight": 0.0}}}
    found = alive(entry(extra, {}, {"recipe": ["objectives.info_nce.weight=0"]}))
    assert found.passed is False
    assert "differ on 0% of the rows" in found.seen
    assert "equal bit for bit" in found.seen


@pytest.mark.parametrize(
    ("recipe", "lives"), [({"fusion": "mean"}, True), ({"views": {"noisy": [{"noise": {}}]}}, False)]
)
def test_without_a_switch_it_must_change_something(recipe, lives):
    found = alive(entry(recipe, {}))
    assert found.passed is lives
    assert "built differently" in found.seen


def test_the_baseline_has_a_switch_of_its_own():
    both = {"recipe": [OFF], "baseline": [OFF]}
    less = {"fusion": {"concatenation": {"dropout": 0.3}}}
    assert alive(entry(DROPPED, less, both)).passed
    assert alive(entry(DROPPED, less, {"recipe": [OFF]})).passed is False


def test_where_embeddings_are_judged_what_is_found_must_change():
    align = {"objectives": {"info_nce": {}}}
    measure = "retrieval/a->b/recall@1"
    assert alive(entry({**align, "fusion": "mean"}, align), measure).passed is False
    assert alive(entry({"objectives": {"info_nce": {"temperature": 5.0}}}, align), measure).passed


def outcome(value=0.5, rows=None, predicted=None, best=None, finite=True):
    to = [None if x is None else np.asarray(x) for x in (rows, predicted)]
    return Outcome(value, *to, best, finite, 1.0)


def test_moved_looks_at_predictions_and_differs_at_what_is_measured():
    one = outcome(rows=[1.0, 0.0, 1.0], predicted=[[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]])
    other = outcome(rows=[1.0, 1.0, 1.0], predicted=[[0.9, 0.1], [0.7, 0.3], [0.6001, 0.3999]])
    assert gates.moved(one, other, 1e-3).tolist() == [False, True, False]
    assert gates.moved(one, other, 0.0).tolist() == [False, True, True]
    assert gates.differs(one, other, 0.0).tolist() == [False, True, False]


def test_probabilities_that_decide_the_same_are_no_difference():
    one = outcome(predicted=[[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]])
    other = outcome(predicted=[[0.8, 0.2], [0.4, 0.6], [0.4, 0.6]])
    assert gates.differs(one, other, 0.0).tolist() == [False, False, True]
    one, other = outcome(predicted=[[0.9, 0.9], [0.2, 0.9]]), outcome(predicted=[[0.6, 0.6], [0.2, 0.1]])
    assert gates.differs(one, other, 0.0).tolist() == [False, True]
    one, other = outcome(predicted=[1.0, 2.0]), outcome(predicted=[1.0, 2.5])
    assert gates.differs(one, other, 0.0).tolist() == [False, True]


def judged(*outcomes, edges=()):
    search = Searched([()], np.zeros((1, 1)), [0], list(edges))
    return Judged(search, [[one] for one in outcomes])


FINE = judged(*[outcome(best=(3, 9))] * 4)


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        (judged(*[outcome(best=(3, 9))] * 3, outcome(finite=False)), "method diverged in 1 of 4"),
        (judged(*[outcome(best=(9, 9))] * 3, outcome(best=(2, 9))), "best epoch of method is the last one in 3 of 4"),
        (judged(*[outcome(best=(3, 9))] * 4, edges=("width",)), "method is best at the end of width"),
    ],
)
def test_a_training_that_failed_or_was_stopped_too_early_is_seen(arm, said):
    found = gates.trained({"method": arm, "baseline": FINE})
    assert found.passed is False
    assert said in found.seen
    found = gates.trained({"method": FINE, "baseline": arm})
    assert found.passed is False
    assert said.replace("method", "baseline") in found.seen


def test_sound_trainings_pass_and_so_do_those_where_no_epoch_is_picked():
    assert gates.trained({"method": FINE, "baseline": judged(*[outcome()] * 4)}).passed
    few_late = judged(outcome(best=(9, 9)), outcome(best=(1, 9)), outcome(best=(1, 9)), outcome(best=(9, 9)))
    assert gates.trained({"method": FINE, "baseline": few_late}).passed


@pytest.mark.parametrize(
    ("value", "better", "discordant", "bounded", "passed"),
    [
        (0.95, "higher", 10, True, True),
        (0.97, "higher", 10, True, False),
        (0.97, "higher", 10, False, True),
        (0.5, "higher", 9, True, False),
        (0.5, "higher", 9, False, False),
        (0.03, "lower", 10, True, False),
        (0.97, "lower", 10, True, True),
    ],
)
def test_headroom_is_twice_the_margin_and_ten_groups(value, better, discordant, bounded, passed):
    assert gates.headroom(value, 0.02, discordant, better, bounded).passed is passed


def test_two_baselines_of_other_seeds_differ_by_less_in_19_of_20_cases():
    """Five folds of three seeds, by which the spread is estimated, and two new baselines of as many."""
    rng, times = np.random.default_rng(0), 4000
    ground = SimpleNamespace(made=False)
    inside = 0
    for _ in range(times):
        folds = rng.normal(size=5)[:, None]
        seen, one, other = (folds + 0.01 * rng.normal(size=(5, 3)) for _ in range(3))
        finals = [[SimpleNamespace(value=value) for value in fold] for fold in seen]
        noise = Results(ground, {"baseline": Judged(None, finals)}).noise("baseline")
        inside += abs(one.mean() - other.mean()) < noise
    assert inside / times == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize(("noise", "passed"), [(0.019, True), (0.02, False), (float("nan"), False), (None, None)])
def test_seeds_may_not_make_what_counts_as_a_difference(noise, passed):
    assert gates.self_null(noise, 0.02).passed is passed


@pytest.mark.parametrize(
    ("value", "panel", "expect", "passed"),
    [
        (0.79, {"majority": 0.5, "late fusion": 0.8}, "higher", True),
        (0.5, {"majority": 0.5, "late fusion": 0.8}, "higher", False),
        (0.9, {"majority": 0.5, "late fusion": 0.8}, "higher", True),
        (0.5, {"majority": 0.5, "late fusion": 0.8}, "equal", False),
        (0.9, {"majority": 1.2, "late fusion": 0.4}, "lower", False),
        (0.41, {"majority": 1.2, "late fusion": 0.4}, "lower", True),
        (float("nan"), {"majority": 0.5}, "higher", False),
    ],
)
def test_a_straw_man_is_seen_beside_simple_baselines(value, panel, expect, passed):
    assert gates.strong(value, panel, 0.02, expect, lambda best: Estimate(0.0, 0.01, 20)).passed is passed


@pytest.mark.parametrize(
    ("expect", "difference", "passed"),
    [
        ("higher", 0.05, True),
        ("higher", 0.01, False),
        ("higher", -0.05, False),
        ("lower", -0.05, True),
        ("lower", 0.05, False),
        ("not_lower", 0.005, True),
        ("not_lower", -0.005, False),
        ("equal", 0.0, False),
        (AtLeast(at_least=0.9), 0.2, False),
    ],
)
def test_what_holds_against_the_best_of_the_panel_needs_no_strong_baseline(expect, difference, passed):
    """Two standard errors are .02; the best one is asked about, which of errors is the lowest."""
    panel = {"far": 0.9, "near": 0.1} if expect == "lower" else {"far": 0.1, "near": 0.9}
    asked = []
    found = gates.strong(0.5, panel, 0.02, expect, lambda best: asked.append(best) or Estimate(difference, 0.01, 200))
    assert found.passed is passed
    assert set(asked) <= {"near"}


def test_the_first_gate_that_failed_is_named_and_control_is_apart():
    found = {"mechanism": Gate(None, ""), "control": Gate(False, ""), "alive": Gate(True, ""), "leak": Gate(False, "")}
    assert gates.failed(found, ["mechanism", "alive", "leak"]) == "leak"
    assert gates.failed(found, ["alive", "control", "leak"]) == "control"
    assert gates.failed(found, ["mechanism", "alive"]) is None
    assert failing(found) == "leak"


def leak(where, difference=0.3, measure="test/accuracy"):
    recipe = resolve(where.grounds.schema, grounded.SMALL)
    return gates.leak(difference, where, recipe, measure, TAG)


def test_a_small_difference_needs_no_look_for_a_leak(monkeypatch):
    monkeypatch.setattr(gates, "run_all", None)
    where = ground(PLANTED, TAG)
    assert leak(where, 0.1).passed is None
    assert leak(where, -0.1).passed is None


@pytest.mark.parametrize("difference", [0.3, -0.3])
def test_sound_tables_do_not_leak(collected, difference):
    collected(grounded.table(grounded.columns(150, noise=2.5)))
    found = leak(ground("toy", TAG), difference)
    assert found.passed, found.seen
    assert "permuted labels" in found.seen
    assert leak(ground(PLANTED, TAG), difference).passed


def test_a_label_among_the_features_is_seen(collected):
    """As some published tables have it: the class's number is the last column."""
    source = grounded.columns(150)
    source["b"] = [[*cell, float(i % 3)] for i, cell in enumerate(source["b"])]
    collected(grounded.table(source))
    found = leak(ground("toy", TAG))
    assert found.passed is False
    assert "gives the label" in found.seen


def test_presence_that_tells_the_label_is_seen(collected):
    source = grounded.columns(150, classes=2)
    source["b"] = [cell if i % 2 else None for i, cell in enumerate(source["b"])]
    collected(grounded.table(source))
    assert leak(ground("toy", TAG)).passed is False


def test_a_group_on_both_sides_is_seen(collected):
    collected(grounded.table(grounded.columns(150, noise=2.5)))
    where = ground("toy", TAG)
    place, groups = where.grounds.units[0].place, where.groups.copy()
    groups[place.test[0]] = groups[place.train[0]]
    found = leak(replace(where, groups=groups))
    assert found.passed is False
    assert "on both sides" in found.seen
    assert leak(replace(where, groups=groups), measure="retrieval/a->b/recall@1").passed is False


def test_labels_that_reach_the_training_by_the_test_rows_are_seen(collected, monkeypatch):
    """Permuted labels must bring the method to chance; one that has seen the test rows is not."""
    collected(grounded.table(grounded.columns(150, noise=2.5)))
    where = ground("toy", TAG)
    truth = np.array([int(label[-1]) for label in where.table.column("label").to_pylist()])
    known = outcome(predicted=np.eye(3)[truth[where.grounds.units[0].place.test]])
    monkeypatch.setattr(gates, "run_all", lambda jobs: iter([[known] for _ in jobs]))
    found = leak(where)
    assert found.passed is False
    assert "permuted labels 1.000 are right" in found.seen


def test_where_no_label_is_judged_none_is_permuted(collected):
    collected(grounded.table(grounded.columns(150, noise=2.5)))
    assert leak(ground("toy", TAG), measure="retrieval/a->b/recall@1").passed is None
    collected(grounded.table({**grounded.columns(150), "label": [i + 0.5 for i in range(150)]}))
    assert leak(ground("toy", TAG), measure="test/r2").passed is None


@pytest.fixture
def tests_of(tmp_path, monkeypatch):
    """A folder of tests; -> writes the one of a component and gives an entry that it carries."""
    monkeypatch.setattr(gates, "TESTS", tmp_path / "tests")
    gates._tests.cache_clear()

    def write(**files):
        for name, body in files.items():
            path = tmp_path / "tests" / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"def test_it():\n    {body}\n")
        return Entry.parse({**SOUND, "carried_by": "fusion/gated, fusion/mean"})

    yield write
    gates._tests.cache_clear()


def test_the_tests_of_every_component_must_pass(tests_of):
    found = gates.mechanism(tests_of(fusion__test_gated="pass", fusion__test_mean="pass", fusion__test_x="assert 0"))
    assert (found.passed, found.seen) == (True, "2 passed")


def test_one_component_whose_tests_fail_is_enough(tests_of):
    found = gates.mechanism(tests_of(fusion__test_gated="pass", fusion__test_mean="assert 0"))
    assert found.passed is False
    assert "1 failed" in found.seen


def test_a_component_without_tests_of_its_own_goes_by_those_of_its_room(tests_of):
    found = gates.mechanism(tests_of(fusion__test_gated="pass", fusion__test_others="assert 0"))
    assert found.passed is False


def test_no_tests_at_all_pass_nothing(tests_of, tmp_path):
    entry = tests_of()
    assert gates.mechanism(entry).passed is None
    (tmp_path / "tests").mkdir()
    assert gates.mechanism(entry).passed is False


@pytest.mark.parametrize("name", entries.names())
def test_every_entry_has_tests_that_its_mechanism_goes_by(name):
    for component in entries.load(name).carried_by.split(","):
        room, _, own = component.strip().rpartition("/")
        assert (gates.TESTS / room / f"test_{own}.py").exists() or list((gates.TESTS / room).glob("test_*.py")), own


def test_an_installed_package_says_that_it_has_no_tests(monkeypatch, tmp_path):
    monkeypatch.setattr(gates, "TESTS", tmp_path / "nowhere")
    assert gates.mechanism(Entry.parse(SOUND)).passed is None
