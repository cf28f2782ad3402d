"""One modality at a time: batches of each in turn, so that no pair of cells is ever seen together.

An epoch has ceil(n / size) rounds, n being the rows that have the leading modality; a round is one batch of each, the
leading one first.  The rows of a modality come in random order and begin anew, in another order, where they run out.
Modalities teach each other through labels and through the parameters that they share, such as those of the projection
`shared` or of a head.
Source: Gupta et al., "Better Together", arXiv:2510.08492.  Relative: shuffled, which keeps a row's cells together.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from plait.core.errors import RecipeError
from plait.core.meter import Meter
from plait.core.part import Draw, Index, Place, Sampler, Spec


def again_and_again(rows: Tensor, size: int, g: torch.Generator) -> Iterator[Tensor]:
    """Batches of at most `size` of `rows`, even in size; all of them once, and again in another order, without end."""
    while True:
        yield from rows[torch.randperm(len(rows), generator=g)].tensor_split(-(-len(rows) // size))


class Alternating(Sampler):
    """leading: the modality whose rows make an epoch; null: the one that most rows have.

    modalities: which take turns; null: all.
    """

    def __init__(self, leading: str | None = None, modalities: list[str] | None = None) -> None:
        super().__init__()
        self.leading, self.modalities = leading, modalities

    def build(self, spec: Spec, place: Place) -> None:
        self.turns = spec.names if self.modalities is None else tuple(self.modalities)
        spec.check(place, *self.turns, *([] if self.leading is None else [self.leading]))
        if self.leading is not None and self.leading not in self.turns:
            raise RecipeError(f"{place}.leading: {self.leading!r} is not among the modalities that take turns.")

    def _rows(self, index: Index) -> dict[str, Tensor]:
        """The rows that have each, the leading modality first; without those that nobody has."""
        columns = {name: index.have[:, index.names.index(name)].nonzero().squeeze(1) for name in self.turns}
        found = {name: rows for name, rows in columns.items() if len(rows)}
        first = self.leading or max(found, key=lambda name: len(found[name]), default="")
        return {name: found[name] for name in sorted(found, key=lambda name: name != first)}

    def _rounds(self, rows: dict[str, Tensor], size: int) -> int:
        if not rows or (self.leading is not None and self.leading not in rows):
            return 0
        return -(-len(next(iter(rows.values()))) // size)

    def length(self, index: Index, size: int) -> int:
        rows = self._rows(index)
        return self._rounds(rows, size) * len(rows)

    def epoch(self, index: Index, size: int, meter: Meter, g: torch.Generator) -> Iterator[Draw]:
        rows = self._rows(index)
        # A stream of its own for each, so that one modality's rows do not depend on how many the others have.
        seeds = torch.randint(2**62, (len(index.names),), generator=g)
        streams = {
            name: again_and_again(own, size, torch.Generator().manual_seed(int(seeds[index.names.index(name)])))
            for name, own in rows.items()
        }
        for _ in range(self._rounds(rows, size)):
            for name, stream in streams.items():
                drawn = next(stream)
                keep = torch.zeros(len(drawn), len(index.names), dtype=torch.bool)
                keep[:, index.names.index(name)] = True
                yield Draw(drawn, keep)
