"""The model and the rows that are asked about, with what several questions need of them, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from plait.core.outputs import Outputs
from plait.core.part import Head, Target
from plait.data.copies import witnesses
from plait.data.dataset import Dataset
from plait.data.table import Table
from plait.measures import scores
from plait.measures.trust.dependence import Off, Sensitivity, sensitivity
from plait.measures.worth.concordance_rows import concordance_rows
from plait.measures.worth.shapley import Worth, shapley, wanted

from ..model import Embeddings, Model
from ..prepare import Encoded, Progress, silent
from ..run import read_splits
from .section import CannotSay

Array = np.ndarray[Any, np.dtype[Any]]
Company = tuple[str, ...]
"""Names of modalities, in the model's order."""
LEAST = 20
"""Labelled rows that have a modality, below which nothing is said of their exchanging its cells."""


def by_row(kind: str, predicted: Array, truth: Array) -> dict[str, Array]:
    """{measure: [P] values of rows, of which it is the mean}, of a kind of target."""
    if kind == "survival":
        ordered = concordance_rows(ranked(predicted), truth)
        return {"c_index": ordered, "misordered_pairs": 1 - ordered}
    return scores.of(kind).rows(predicted, truth)


def ranked(risks: Array) -> Array:
    """Infinite risks as ties above all others."""
    return np.nan_to_num(risks.astype(np.float64))


@dataclass(eq=False)
class Subject:
    """table, encoded: all rows that are at hand; test: those that are judged, and learned: those that were learned from
    (none where other rows than the run's own are asked about).

    alone: single-modality models.  deep: whether to compute what takes minutes.  by: a column of groups of people or
    things that are to be treated alike, if one was named.
    """

    model: Model
    table: Table
    encoded: Encoded
    test: Array
    learned: Array
    alone: Mapping[str, Model]
    deep: bool = False
    by: str | None = None
    seed: int = 0
    progress: Progress = silent
    _decided: dict[Company, dict[str, Array]] = field(default_factory=dict, repr=False)

    @property
    def names(self) -> Company:
        """The model's modalities."""
        return self.model.names

    @cached_property
    def target(self) -> str:
        """The first target.  CannotSay where there is none."""
        for name in self.model.targets:
            if len(self.dataset.target(name)):
                return name
        raise CannotSay("The model has no target, or no row here has a label.")

    @property
    def about(self) -> Target:
        return self.model.targets[self.target]

    @property
    def classes(self) -> tuple[str, ...]:
        """Of a class target.  CannotSay of any other."""
        if self.about.kind != "class" or not self.about.classes:
            raise CannotSay(f"This is asked of classes; {self.target} is a target of kind {self.about.kind}.")
        return tuple(self.about.classes)

    @cached_property
    def dataset(self) -> Dataset:
        """The test rows."""
        return self.encoded.dataset.take(self.test)

    @cached_property
    def have(self) -> Array:
        """[n, M] bool: which modalities the test rows have."""
        return np.asarray(self.dataset.only(self.names).have.numpy())

    @cached_property
    def labelled(self) -> Array:
        """Places among the test rows of those with a label."""
        return np.asarray(self.dataset.target(self.target).rows.numpy())

    @cached_property
    def truth(self) -> Array:
        """[p, ...] labels of `labelled`."""
        return np.asarray(self.dataset.target(self.target).values.numpy())

    @cached_property
    def groups(self) -> Array:
        """[n] test rows with equal numbers belong together: the table's groups, or equal cells."""
        return self._witnesses[0]

    @property
    def few_values(self) -> list[str]:
        """Modalities whose equal cells hold no test rows together, as there are too many."""
        return self._witnesses[1]

    @cached_property
    def _witnesses(self) -> tuple[Array, list[str]]:
        return witnesses(self.table.take(self.test))

    @cached_property
    def learned_groups(self) -> Array:
        """[l] the same of the rows that were learned from."""
        return witnesses(self.table.take(self.learned))[0]

    @cached_property
    def watched(self) -> Array:
        """[l] bool: which of the rows that were learned from are the run's validation rows.

        Where the run was refitted (`model.info["refit"]`), the model that is kept has learned from these as well.
        CannotSay without a run's own rows.
        """
        if self.model.folder is None or not len(self.learned):
            raise CannotSay("The rows that the model learned from are not at hand: ask about a run's own rows.")
        return np.isin(self.learned, read_splits(self.model.folder)["validation"])

    @cached_property
    def all_groups(self) -> Array:
        """[N] the same of all rows."""
        return witnesses(self.table)[0]

    def decided(self, companies: Iterable[Company]) -> dict[Company, Array]:
        """{company: [n, ...] what the model predicts of the test rows from these modalities, the others hidden}.

        From none of them: what it says without looking.
        """
        asked, target = list(dict.fromkeys(companies)), self.target
        new = [company for company in asked if company not in self._decided]
        if new:
            self._decided.update(self.model.decisions(self.dataset, new))
        return {company: self._decided[company][target] for company in asked}

    @cached_property
    def predicted(self) -> Array:
        """[n, ...] from all modalities."""
        return self.decided([self.names])[self.names]

    def without(self, modality: str) -> Array:
        """[n, ...] from all others."""
        rest = tuple(n for n in self.names if n != modality)
        return self.decided([rest])[rest]

    @cached_property
    def singly(self) -> dict[str, Array]:
        """{modality: [n, ...] what a model trained on it alone predicts}.  CannotSay without such models."""
        if not self.alone:
            raise CannotSay("There are no models trained on a single modality to compare with.")
        return {name: model.parameters(self.dataset)[self.target] for name, model in self.alone.items()}

    @cached_property
    def measure(self) -> str:
        """The main measure if it is a mean over rows, else another one that is.

        CannotSay where no two of the labelled rows can be compared.
        """
        rows, main = by_row(self.about.kind, self.predicted[self.labelled], self.truth), scores.of(self.about.kind).main
        if self.pairwise and np.isnan(rows[main]).any():
            raise CannotSay("No two test rows can be compared: no event was seen before the time of another row.")
        return main if main in rows else next(iter(rows))

    @property
    def pairwise(self) -> bool:
        """Whether a row by itself is neither right nor off: the measure is of pairs of rows (`concordance_rows`)."""
        return self.about.kind == "survival"

    @property
    def sign(self) -> float:
        """-1 where less of `measure` is better."""
        return 1.0 if scores.of(self.about.kind).higher(self.measure) else -1.0

    def values(self, predicted: Array, on: Array | None = None) -> Array:
        """[p] `measure` of each labelled row, turned so that more is better.  predicted: [n, ...].

        on: [p] bool; then [q] of these rows, by themselves.
        """
        said, truth = predicted[self.labelled], self.truth
        if on is not None:
            said, truth = said[on], truth[on]
        return self.scored(said, truth)

    def scored(self, said: Array, truth: Array) -> Array:
        """[q] `measure` of each row, turned so that more is better."""
        return self.sign * by_row(self.about.kind, said, truth)[self.measure]

    def partly(self, before: Array, after: Array, shares: Sequence[float], on: Array) -> dict[float, Array]:
        """{share: [q] `values` to be expected where that share of the rows, whichever, is answered by `after`}.

        before, after: [n, ...].  on: [p] bool, the labelled rows that it is about.
        """
        old, new = self.values(before, on), self.values(after, on)
        if not self.pairwise:
            return {s: (1 - s) * old + s * new for s in shares}
        rows = self.labelled[on]
        one, other = (
            concordance_rows(ranked(first[rows]), self.truth[on], later=ranked(second[rows]))
            for first, second in ((before, after), (after, before))
        )
        # Both rows of a pair are as before, one of them, or neither.
        return {s: (1 - s) ** 2 * old + s * (1 - s) * (one + other) + s**2 * new for s in shares}

    @cached_property
    def by_company(self) -> dict[Company, Array]:
        """{company: `values` of what is predicted from it}, of those that Shapley values need."""
        asked = {
            company: tuple(n for n in self.names if n in company) for company in wanted(self.names, seed=self.seed)
        }
        decided = self.decided(asked.values())
        return {company: self.values(decided[own]) for company, own in asked.items()}

    @cached_property
    def shares(self) -> Worth:
        """Shapley values of `measure`, of the modalities to this model."""
        groups = self.groups[self.labelled]
        return shapley(self.by_company, self.names, groups=groups, seed=self.seed)

    @cached_property
    def embeddings(self) -> Embeddings:
        """Of the test rows.  CannotSay where the recipe projects nothing."""
        found = self.model.embeddings(self.dataset)
        if not found:
            raise CannotSay("The model was trained without a shared space of embeddings.")
        return found

    @cached_property
    def learned_embeddings(self) -> Embeddings:
        """Of the rows that were learned from, if they are at hand."""
        return self.model.embeddings(self.encoded.dataset.take(self.learned))

    @cached_property
    def _pass(self) -> Outputs:
        self.model.network.eval()
        device = next(self.model.network.parameters()).device
        outputs: Outputs = self.model.network(self.dataset.batch(range(len(self.dataset))).to(device))
        return outputs

    def dealt(self, sources: Mapping[str, Array]) -> Array:
        """[n, ...] predictions of test rows that have the cells of others; every cell is encoded once.

        sources: {modality: [n], the place among the test rows whose cell stands in each row, -1 where there is none}.
        """
        out = self.model.priors(len(self.dataset))[self.target]
        head = self.model.network.heads[self.target]
        assert isinstance(head, Head)
        device = next(self.model.network.parameters()).device
        with torch.no_grad():
            company = {name: torch.as_tensor(source, device=device) for name, source in sources.items()}
            prediction = self._pass.regroup(company).predictions[self.target]
            if len(prediction):
                out[prediction.rows.cpu().numpy()] = head.predict(prediction.values).float().cpu().numpy()
        return out

    def exchanged(self, given: Mapping[str, Array]) -> Array:
        """[p, ...] of the labelled rows, some with the cells of others; modalities that are not named keep their own.

        given: {modality: [p], the place among the labelled rows whose cell stands in each, -1 where there is none}.
        """
        every = np.arange(len(self.dataset))
        sources = {name: np.where(self.have[:, i], every, -1) for i, name in enumerate(self.names)}
        for name, source in given.items():
            sources[name][self.labelled] = np.where(source >= 0, self.labelled[source], -1)
        return self.dealt(sources)[self.labelled]

    def exchangeable(self, name: str) -> bool:
        """Whether rows enough have the modality, and no group has more than half of them."""
        groups = self.groups[self.labelled][self.have[self.labelled, self.names.index(name)]]
        return len(groups) >= LEAST and 2 * int(np.unique(groups, return_counts=True)[1].max()) <= len(groups)

    def redealt(self, name: str, off: Off, read: Callable[[Array], Array] = np.asarray) -> Sensitivity:
        """How much further off answers are where rows get the cells of others.  read: what is made of predictions."""
        return sensitivity(
            lambda sources: read(self.exchanged(sources)),
            self.truth,
            self.have[self.labelled][:, [self.names.index(name)]],
            [name],
            off=off,
            groups=self.groups[self.labelled],
            seed=self.seed,
        )[name]
