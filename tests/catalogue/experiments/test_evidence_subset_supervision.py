from functools import partial

import numpy as np

from plait.catalogue.experiments import evidence_subset_supervision as experiment
from plait.data.sets.factors import factors


def test_rows_name_the_modalities_whose_cells_are_their_own_and_not_drowned():
    table = experiment.told(factors(rows=400, modalities=3, corrupted=0.5, mispaired=0.5))
    said = table.labels(experiment.COLUMN)
    foreign = table.column("mispaired").to_pylist()
    for name in "abc":
        drowned = table.column(f"corrupted_{name}").to_pylist()
        for row, names in enumerate(said):
            assert (name in names) == (not drowned[row] and foreign[row] != name)
    assert not any(names is None for names in said), "a row without evidence says so"
    assert [] in said
    assert experiment.COLUMN in table.schema.ignored
    assert set(table.schema.modalities) == set("abc")


def test_only_training_rows_lose_cells_and_all_arms_are_judged_by_the_same_test_rows(monkeypatch):
    asked = []
    monkeypatch.setattr(
        experiment, "accuracy", lambda table, recipe, seed: asked.append((table.fingerprint(), recipe, seed)) or 0.5
    )
    draw = partial(factors, rows=80, corrupted=0.5)
    assert experiment.late_fusion(draw, 5) == (0.5, 0.5)
    assert experiment.late_to_early(draw, 5) == (0.0, 0.0)
    assert len({table for table, _, _ in asked}) == 1
    assert {seed for _, _, seed in asked} == {5}
    assert ["stages" in recipe for _, recipe, _ in asked] == [True, False, True, True, False, False]
    same = [{slot: part for slot, part in recipe.items() if slot != "stages"} for _, recipe, _ in asked]
    assert same[0] == same[1] == same[3] == same[5] == experiment.LATE
    assert same[2] == same[4] == experiment.EARLY


def test_gaps_are_of_early_over_late(monkeypatch):
    said = {("late_average", False): 0.6, ("late_average", True): 0.7}
    said |= {("concatenation", False): 0.9, ("concatenation", True): 0.8}
    monkeypatch.setattr(
        experiment, "accuracy", lambda table, recipe, seed: said[next(iter(recipe["fusion"])), "stages" in recipe]
    )
    draw = partial(factors, rows=80)
    assert experiment.late_fusion(draw, 0) == (0.7, 0.6)
    np.testing.assert_allclose(experiment.late_to_early(draw, 0), (0.1, 0.3))


def test_cells_that_are_exchanged_are_those_of_training_rows_outside_their_subset():
    table = experiment.told(factors(rows=200, corrupted=0.5))
    other = experiment._exchanged(table)
    said, part = table.labels(experiment.COLUMN), table.column("split").to_pylist()
    for name in "ab":
        before, after = (t.column(name).to_pylist() for t in (table, other))
        moved = [one != two for one, two in zip(before, after, strict=True)]
        assert moved == [p == "train" and name not in names for p, names in zip(part, said, strict=True)]
        assert any(moved)
    assert other.column("y").equals(table.column("y"))
