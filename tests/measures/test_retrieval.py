import itertools

import numpy as np
import pytest
import torch
from torchmetrics.functional.retrieval import retrieval_hit_rate

from plait.measures.retrieval import rank, retrieval


def drawn(rows=40, width=8, groups=25, seed=0):
    rng = np.random.default_rng(seed)
    group = rng.integers(0, groups, rows)
    centre = rng.normal(size=(groups, width))
    return [centre[group] + rng.normal(size=(rows, width)) for _ in range(2)] + [group]


@pytest.mark.parametrize("k", [1, 3, 10])
def test_any_item_of_the_group_is_a_hit(k):
    queries, gallery, group = drawn()
    found = rank(queries, gallery, group, group).recall(k)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries, gallery)]
    score = unit[0] @ unit[1].T
    for q in range(40):
        expected = retrieval_hit_rate(torch.tensor(score[q]), torch.tensor(group == group[q]), top_k=k)
        assert found[q] == pytest.approx(float(expected))


def test_a_collapsed_embedding_scores_by_chance():
    rows, same = 50, np.repeat(np.arange(25), 2)
    collapsed = np.tile(np.random.default_rng(0).normal(size=8).astype(np.float32), (rows, 1))
    ranks = rank(collapsed, collapsed, np.arange(rows), np.arange(rows))
    assert ranks.recall(1) == pytest.approx(np.full(rows, 1 / rows))
    assert ranks.recall(10) == pytest.approx(np.full(rows, 10 / rows))
    assert ranks.expected() == pytest.approx(np.full(rows, (rows + 1) / 2))
    assert rank(collapsed, collapsed, same, same).recall(1) == pytest.approx(np.full(rows, 2 / rows))
    assert rank(collapsed, collapsed, same, same).recall(rows) == pytest.approx(np.ones(rows))


def test_ties_are_the_mean_over_all_orders():
    gallery = np.array([[1.0, 0], [1, 0], [1, 0], [1, 0], [0, 1]])
    groups = np.array([0, 0, 1, 2, 3])
    ranks = rank(np.array([[1.0, 0.2]]), gallery, np.array([0]), groups)
    orders = list(itertools.permutations(groups[:4]))
    for k in (1, 2, 3, 4):
        assert ranks.recall(k)[0] == pytest.approx(np.mean([0 in order[:k] for order in orders]))
    assert ranks.expected()[0] == pytest.approx(np.mean([order.index(0) + 1 for order in orders]))


def test_queries_without_anything_to_find_are_left_out():
    queries, gallery, group = drawn()
    found = retrieval(rank(queries, gallery, group, np.where(group < 10, group, -1)))
    assert (found["queries"], found["gallery"]) == ((group < 10).sum(), 40)
    nothing = retrieval(rank(queries, gallery, group, group + 100))
    assert nothing["queries"] == 0
    assert np.isnan(nothing["recall@1"])


def test_chunks_give_the_same(monkeypatch):
    queries, gallery, group = drawn()
    whole = rank(queries, gallery, group, group)
    monkeypatch.setattr("plait.measures.retrieval._CHUNK", 100)
    parts = rank(queries, gallery, group, group)
    assert np.array_equal(whole.ahead, parts.ahead)


def test_what_an_evaluation_records():
    queries, gallery, group = drawn()
    found = retrieval(rank(queries, gallery, group, group), groups=group)
    assert found["recall@1"] <= found["recall@5"] <= found["recall@10"]
    for name, (low, high) in found["intervals"].items():
        assert 0 <= low <= found[name] <= high <= 1
    perfect = retrieval(rank(gallery, gallery, group, group))
    assert (perfect["recall@1"], perfect["median_rank"]) == (1, 1)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="gallery"):
        rank(np.ones((2, 3)), np.ones((2, 4)), np.arange(2), np.arange(2))
    with pytest.raises(ValueError, match="group"):
        rank(np.ones((2, 3)), np.ones((2, 3)), np.arange(3), np.arange(2))


def test_sharing_any_of_several_groups_is_relevant() -> None:
    rng = np.random.default_rng(3)
    q, g = rng.normal(size=(30, 8)), rng.normal(size=(30, 8))
    a, b = rng.integers(0, 12, 30), rng.integers(0, 12, 30)
    found = rank(q, g, np.stack([a, b], 1), np.stack([a, b], 1))
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    order = np.argsort(-(unit(q) @ unit(g).T), 1)
    for i in range(30):
        places = [place for place, j in enumerate(order[i]) if a[i] == a[j] or b[i] == b[j]]
        assert found.ahead[i] == places[0]
        assert found.relevant[i] == len(places)


def test_chance_is_the_mean_over_random_orders() -> None:
    rng = np.random.default_rng(4)
    groups = rng.integers(0, 6, 20)
    found = rank(rng.normal(size=(20, 4)), rng.normal(size=(20, 4)), groups, groups)
    seen = np.mean([(groups[rng.permutation(20)[:5]][None] == groups[:, None]).any(1) for _ in range(4000)], 0)
    assert np.abs(found.chance(5) - seen).max() < 0.03
