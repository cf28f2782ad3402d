import torch

from plait.core.component import _bases
from plait.core.packed import Tokens
from plait.retrieval.index import Hit
from plait.retrieval.ranker import Ranker


class ByCoverage(Ranker):
    """Puts rows that have an image first."""

    def forward(self, query, hits, cells):
        having = set(cells["image"].rows.tolist())
        return [h for i, h in enumerate(hits) if i in having] + [h for i, h in enumerate(hits) if i not in having]


def test_a_ranker_sees_the_hits_cells_by_their_place():
    hits = [Hit(row, row, 1.0, "text", {}) for row in (7, 3, 5)]
    cells = {"image": Tokens(torch.zeros(2, 1, 4), torch.tensor([1, 2]), torch.ones(2, 1, dtype=torch.bool))}
    assert [h.row for h in ByCoverage()({}, hits, cells)] == [3, 5, 7]


def test_the_slot_names_this_base():
    assert _bases("rankers") == (Ranker,)
