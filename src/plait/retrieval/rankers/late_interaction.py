"""ColBERT's MaxSim: every token of the query finds its best match among the tokens of a row.

    score = sum_i w_m(i) max_j  <q_i, x_j> / |q_i| |x_j|

over the tokens i of the query and j of the row's cells, in the space that all modalities share.  With one token a cell
and one cell in the query it is the cosine.  Tokens of one modality are nearer to each other than to those of another:
rows that lack the query's modality rank low unless the search is `among` others.  The projection has learned from mean
tokens, so nothing says that single ones match as well: measure it.
Source: Khattab & Zaharia, "ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction over
BERT", arXiv:2004.12832.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from plait.core.packed import Tokens
from plait.core.part import Place, Spec
from plait.retrieval.index import Hit
from plait.retrieval.ranker import Ranker

_AT_ONCE = 4096
"""Tokens of rows that are compared at once."""


def max_sim(query: Tensor, tokens: Tensor, rows: Tensor, size: int) -> Tensor:
    """Each query token's best cosine in each row.  query: [Q, E].  tokens: [T, E] of rows [T].  ->  [Q, size].

    -1, the least, where a row has no token.
    """
    query, tokens = F.normalize(query, dim=-1), F.normalize(tokens, dim=-1)
    best = query.new_full((len(query), size), -1.0)
    for at in range(0, len(tokens), _AT_ONCE):
        owner = rows[at : at + _AT_ONCE].expand(len(query), -1)
        best.scatter_reduce_(1, owner, query @ tokens[at : at + _AT_ONCE].T, "amax")
    return best


class LateInteraction(Ranker):
    """modalities: of the rows, that are looked at; null: all that were searched."""

    def __init__(self, modalities: list[str] | None = None) -> None:
        super().__init__()
        self.modalities = modalities

    def build(self, spec: Spec, place: Place) -> None:
        spec.check(f"{place}.modalities", *(self.modalities or ()))

    def forward(self, query: Mapping[str, Tokens], hits: Sequence[Hit], cells: Mapping[str, Tokens]) -> list[Hit]:
        """The hits with their scores, best first; equal ones in the order that they came in."""
        chosen = [part for name, part in cells.items() if self.modalities is None or name in self.modalities]
        total = torch.zeros(len(hits))
        for asked in query.values():
            words = asked.values[asked.visible]
            best = words.new_full((len(words), len(hits)), -1.0)
            for part in chosen:
                owner = part.rows.unsqueeze(1).expand_as(part.visible)[part.visible]
                best = torch.maximum(best, max_sim(words, part.values[part.visible], owner, len(hits)))
            total = total + asked.notes.get("weight", torch.ones(1)) * best.sum(0)
        order = total.argsort(descending=True, stable=True).tolist()
        return [replace(hits[place], score=float(total[place])) for place in order]
