import json

import numpy as np
import pytest
from concepts import planted

from plait.measures.space.concept_dictionary import concept_dictionary, encode
from plait.measures.space.concept_grounding import closest_words, concept_grounding, most_activating, overlap

WORDS = ("dog", "grass", "ball", "snow", "night")


def test_non_negative_atoms_are_grounded_where_principal_components_are_not():
    tokens, atoms, there = planted()
    samples = [[w for w, t in zip(WORDS, row, strict=True) if t] for row in there]
    found = concept_dictionary(tokens, 5, sparsity=0.02)
    principal = np.linalg.svd(tokens - tokens.mean(0), full_matrices=False)[2][:5]
    agreement = {}
    for name, u in (("concepts", found.atoms), ("principal", principal)):
        words = closest_words(u, atoms, WORDS, 1)
        agreement[name] = concept_grounding(encode(tokens / found.scale, u, 0.02), samples, words)
    assert agreement["concepts"].agreement == pytest.approx(1 - np.mean(there), abs=0.02)
    assert agreement["concepts"].overlap == 0
    assert agreement["principal"].agreement < agreement["concepts"].agreement - 0.02
    assert agreement["principal"].overlap > 0


def test_agreement_is_the_share_of_the_top_samples_beyond_that_of_all():
    activations = np.array([[3, 0], [2, 0], [1, 5], [0, 1], [0, 0.5], [0, 0]])
    samples = [{"dog"}, {"dog", "cat"}, {"cat"}, {"sun"}, {"dog"}, set()]
    found = concept_grounding(activations, samples, [{"dog"}, {"sun", "moon"}], count=2)
    assert found.by_concept == pytest.approx([1 - 3 / 6, 1 / 2 - 1 / 6])
    assert found.agreement == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert [list(rows) for rows in most_activating(activations, 4)] == [[0, 1, 2], [2, 3, 4]]
    nameless = concept_grounding(activations, samples, [{"dog"}, set()], count=2)
    assert np.isnan(nameless.by_concept[1])
    assert nameless.agreement == pytest.approx(1 / 2)


def test_words_that_have_nothing_to_do_with_activations_agree_by_chance():
    rng = np.random.default_rng(0)
    activations = rng.random((400, 60))
    samples = [set(rng.choice(WORDS, 2)) for _ in range(400)]
    found = concept_grounding(activations, samples, [{w} for w in rng.choice(WORDS, 60)])
    low, high = found.intervals["agreement"]
    assert low < 0 < high
    assert abs(found.agreement) < 0.1


def test_overlap_of_equal_and_disjoint_word_sets():
    assert overlap([{"a", "b"}] * 3) == 1
    assert overlap([{"a"}, {"b"}, {"c", "d"}]) == 0
    assert overlap([{"a", "b"}, {"a"}]) == pytest.approx((1 / 2 + 1) / 2)
    assert overlap([["a", "a", "b"], ["b", "b", "a"]]) == 1
    assert overlap([{"a"}, {"a"}, set()]) == 1
    assert np.isnan(overlap([{"a"}, set()]))


def test_the_interval_of_overlap_does_not_count_a_concept_with_itself():
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(40)]
    concepts = [set(rng.choice(words, 5, replace=False)) for _ in range(30)]
    found = concept_grounding(rng.random((50, 30)), [{w} for w in rng.choice(words, 50)], concepts)
    low, high = found.intervals["overlap"]
    # by chance a word of one is in the other with 5 in 40
    assert low < 5 / 40 < high
    assert low < found.overlap < high
    disjoint = concept_grounding(rng.random((50, 3)), [{"a"}] * 50, [{"a"}, {"b"}, {"c"}])
    assert disjoint.intervals["overlap"] == (0, 0)


def test_closest_words():
    assert closest_words([[1.0, 0], [0, 1]], [[2.0, 0], [0, 3], [1, 1]], ["x", "y", "z"], 2) == [{"x", "z"}, {"y", "z"}]


def test_account_and_what_does_not_fit():
    activations = np.eye(3)
    account = json.loads(json.dumps(concept_grounding(activations, [{"a"}] * 3, [{"a"}, {"b"}, {"a"}]).account()))
    assert len(account["by_concept"]) == 3
    with pytest.raises(ValueError, match="width 3 for each of 2 words"):
        closest_words(activations, activations, ["a", "b"], 1)
    with pytest.raises(ValueError, match="3 samples and of 3 concepts, found 2 and 3"):
        concept_grounding(activations, [set()] * 2, [set()] * 3)
    with pytest.raises(ValueError, match="NaN"):
        concept_grounding(activations * np.nan, [set()] * 3, [set()] * 3)
    with pytest.raises(ValueError, match="string 'dog'"):
        overlap(["dog", "cat"])
