import json

import numpy as np
import pytest
from concepts import planted

from plait.measures.space.concept_dictionary import concept_dictionary


def test_planted_concepts_are_found():
    tokens, atoms, there = planted()
    found = concept_dictionary(tokens, 5, sparsity=0.02)
    cosine = atoms @ (found.atoms / np.linalg.norm(found.atoms, axis=1, keepdims=True)).T
    assert (cosine.max(1) > 0.95).all()
    assert sorted(cosine.argmax(1)) == list(range(5))
    active = found.activations[:, cosine.argmax(1)] > 0.1
    assert (active == there).mean() > 0.95
    assert found.error < 0.05


def test_activations_solve_their_problem():
    tokens, *_ = planted()
    found = concept_dictionary(tokens, 7)
    assert (found.activations >= 0).all()
    assert np.linalg.norm(found.atoms, axis=1).max() <= 1 + 1e-9
    left = tokens / found.scale - found.activations @ found.atoms
    slope = left @ found.atoms.T
    # what is active is worth its price, what is not is not worth it
    assert slope[found.activations > 0] == pytest.approx(0.05, abs=1e-4)
    assert slope.max() < 0.05 + 1e-4
    assert found.encode(tokens) == pytest.approx(found.activations)
    wanted = (np.sum(left**2) + 0.1 * found.activations.sum()) / np.sum((tokens / found.scale) ** 2)
    assert found.objective == pytest.approx(wanted)
    assert found.error == pytest.approx(np.sum(left**2) / np.sum((tokens / found.scale) ** 2))


def test_more_atoms_from_nested_starts_are_never_worse():
    tokens = np.random.default_rng(0).normal(size=(60, 10))
    found = [concept_dictionary(tokens, 1, steps=20)]
    for concepts in range(2, 13):
        found.append(concept_dictionary(tokens, concepts, start=found[-1], steps=20))
    objective, error = ([getattr(f, n) for f in found] for n in ("objective", "error"))
    assert (np.diff(objective) <= 1e-6).all()
    assert (np.diff(error) <= 1e-3).all()
    assert objective[-1] < objective[0] - 0.2
    again = concept_dictionary(tokens, 12, start=found[-1], steps=20)
    assert again.objective <= found[-1].objective + 1e-9


def test_a_common_scale_of_tokens_changes_nothing():
    tokens, *_ = planted(80)
    one, other = concept_dictionary(tokens, 4), concept_dictionary(1000 * tokens, 4)
    assert other.activations == pytest.approx(one.activations, abs=1e-6)
    assert other.encode(1000 * tokens[:3]) == pytest.approx(one.activations[:3], abs=1e-6)


def test_account_and_what_does_not_fit():
    tokens, *_ = planted(30)
    start = concept_dictionary(tokens, 3)
    assert len(json.loads(json.dumps(start.account()))["atoms"]) == 3
    with pytest.raises(ValueError, match="1 to 30 concepts"):
        concept_dictionary(tokens, 31)
    with pytest.raises(ValueError, match="not all 0"):
        concept_dictionary(np.zeros((5, 2)), 2)
    with pytest.raises(ValueError, match="at most 2 atoms"):
        concept_dictionary(tokens, 2, start=start)
    with pytest.raises(ValueError, match="of 30 rows"):
        concept_dictionary(tokens[1:], 4, start=start)
    with pytest.raises(ValueError, match="sparsity"):
        concept_dictionary(tokens, 4, start=start, sparsity=0.5)
    with pytest.raises(ValueError, match="NaN"):
        concept_dictionary(tokens * np.nan, 2)
