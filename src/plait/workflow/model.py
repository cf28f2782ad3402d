"""A fitted model: predict, embed, evaluate, save, load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

from plait.core.errors import DataError, nearest
from plait.core.network import Network
from plait.core.outputs import Outputs
from plait.core.packed import Tokens, merge
from plait.core.part import Head, Late, Target
from plait.core.recipe import Recipe
from plait.data.cache import writing
from plait.data.dataset import Dataset
from plait.data.read import read
from plait.data.schema import JOINT, Schema
from plait.data.table import Table
from plait.training.checkpoint import write_weights
from plait.training.runs import CONFIG, describe, load_network, read_config

from .prepare import Encoded, Progress, encode, silent

if TYPE_CHECKING:
    from .evaluate import Evaluation

SCHEMA = "schema.yaml"
BATCH = 256

Embeddings = dict[str, tuple[np.ndarray, np.ndarray]]
"""{modality: (rows int64 [P], unit vectors float32 [P, E])}; "joint" is the mean direction of what a row has."""


@dataclass(frozen=True)
class Begun:
    """What a model was fitted on.  fingerprint, rows: of the table; splits: {"train", "validation", "test": rows}."""

    fingerprint: str
    rows: int
    splits: Mapping[str, np.ndarray]


@dataclass(repr=False)
class Model:
    """A fitted network, with what is needed to apply it to new rows.

    prior: what is predicted for a row that has none of the modalities: class shares, label shares, mean.
    info: where it came from: versions, seed, data fingerprint.
    begun: what it was fitted on, where no run folder says it.
    """

    network: Network
    recipe: Recipe
    schema: Schema
    prior: dict[str, list[float]] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    cache: Path | None = None
    folder: Path | None = None
    begun: Begun | None = None

    def __repr__(self) -> str:
        said = ", ".join(f"{name} ({target.kind})" for name, target in self.targets.items()) or "alignment alone"
        return f"<Model of {', '.join(self.names)} -> {said}{f', in {self.folder}' if self.folder else ''}>"

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities that it knows."""
        return self.network.names

    @property
    def targets(self) -> dict[str, Target]:
        return dict(self.network.spec.targets)

    def read(self, rows: Any) -> Table:
        """Rows in any form that `plait.read` takes, or one as a dict; columns that are absent are absent cells."""
        if isinstance(rows, Table) and rows.schema == self.schema:
            return rows
        if (
            isinstance(rows, Mapping)
            and rows
            and not any(isinstance(v, (list, tuple, np.ndarray)) for v in rows.values())
        ):
            rows = [rows]
        return read(rows, self.schema, partial=True)

    def encode(self, rows: Any, progress: Progress = silent) -> Encoded:
        """The stored cells of rows, as the model's encoders want them."""
        encoders: Any = dict(self.network.encoders.items())
        return encode(self.read(rows), self.recipe, self.names, encoders=encoders, cache=self.cache, progress=progress)

    def parameters(self, dataset: Dataset) -> dict[str, np.ndarray]:
        """{target: what its head predicts, [N, ...]}; the prior where a row has nothing."""
        return self.decisions(dataset, [self.names])[self.names]

    def decisions(
        self, dataset: Dataset, companies: Sequence[tuple[str, ...]]
    ) -> dict[tuple[str, ...], dict[str, np.ndarray]]:
        """`parameters` from each of several sets of modalities, the others hidden; every cell is encoded once."""
        out = {company: self.priors(len(dataset)) for company in companies}
        for start, outputs in self._passes(dataset):
            for company, found in out.items():
                seen = outputs if set(company) == set(self.names) else outputs.only(*company)
                for target, prediction in seen.predictions.items():
                    if target in found and len(prediction):
                        head = self.network.heads[target]
                        assert isinstance(head, Head)
                        rows = prediction.rows.cpu().numpy() + start
                        found[target][rows] = head.predict(prediction.values).float().cpu().numpy()
        return out

    def priors(self, size: int) -> dict[str, np.ndarray]:
        """{target: [size, ...] what is said without looking at anything}."""
        out = {}
        for name, target in self.targets.items():
            prior = np.asarray(self.prior[name], np.float32)
            out[name] = np.tile(prior, (size, 1)) if target.classes else np.full(size, prior.item(), np.float32)
        return out

    def embeddings(self, dataset: Dataset) -> Embeddings:
        """Unit embeddings of every modality, and the joint one.  Empty if the recipe has no projection."""
        if self.network.projection is None:
            return {}
        found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in (*self.names, JOINT)}
        for batch in self.embedded(dataset):
            for name, part in batch.items():
                found[name].append(part)
        nothing = (np.zeros(0, np.int64), np.zeros((0, self.network.spec.embedding), np.float32))
        return {
            name: (np.concatenate([r for r, _ in parts]), np.concatenate([v for _, v in parts])) if parts else nothing
            for name, parts in found.items()
        }

    def embedded(self, dataset: Dataset, progress: Progress = silent) -> Iterator[Embeddings]:
        """`embeddings` batch by batch, with rows of the whole; for more of them than should be held at once."""
        for start, outputs in self._passes(dataset):
            parts = {name: outputs.embedding(name).unit() for name in self.names} | {JOINT: outputs.joint()}
            yield {
                name: (part.rows.cpu().numpy() + start, part.values.float().cpu().numpy())
                for name, part in parts.items()
            }
            progress("embed", min(start + BATCH, len(dataset)), len(dataset))

    def alone(self, dataset: Dataset, target: str) -> Embeddings:
        """{modality: (rows, [P, D] what the target's head reads when the others are hidden)}; of modalities that some
        row has.  With decision-level fusion, what the modality's own head reads: the mean of its tokens.
        """
        head = self.network.heads[target]
        assert isinstance(head, Head)
        found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for start, outputs in self._passes(dataset):
            for name, tokens in outputs.tokens.items():
                late = isinstance(self.network.fusion, Late)
                # Of the rows that have it: a Missing component may make something for others.
                part = tokens.pooled() if late else head.read(outputs.only(name)).on(tokens.rows)
                values = part.values.float().cpu().numpy()
                found.setdefault(name, []).append((part.rows.cpu().numpy() + start, values))
        return {
            name: (np.concatenate([rows for rows, _ in parts]), np.concatenate([values for _, values in parts]))
            for name, parts in found.items()
        }

    def tokens(self, dataset: Dataset) -> dict[str, Tokens]:
        """{modality: every token's own embedding, [P, T, E]}, not normalised; of modalities that some row has.

        RecipeError if the recipe has no projection.
        """
        found: dict[str, Tokens] = {}
        for start, outputs in self._passes(dataset):
            for name, tokens in outputs.tokens.items():
                part = self.network.project_each(name, tokens).to("cpu")
                part = part.with_(rows=part.rows + start)
                found[name] = merge(found[name], part) if name in found else part
        return found

    def _passes(self, dataset: Dataset) -> Iterator[tuple[int, Outputs]]:
        self.network.eval()
        device = next(self.network.parameters()).device
        with torch.no_grad():
            for start in range(0, len(dataset), BATCH):
                batch = dataset.batch(range(start, min(start + BATCH, len(dataset)))).to(device)
                yield start, self.network(batch)

    def predict_proba(self, rows: Any) -> Any:
        """Probabilities [N, C] of a class or multi-label target; {target: probabilities} if there are several.

        TypeError if no target has probabilities.
        """
        known = {name: target for name, target in self.targets.items() if target.classes}
        if not known:
            raise TypeError("the model predicts no classes or labels; use predict")
        found = self.parameters(self.encode(rows).dataset)
        return _one({name: found[name] for name in known})

    def predict(self, rows: Any) -> Any:
        """[N] class names, numbers or risks, or [N, C] bool for labels; {target: ...} if there are several targets.

        A row with none of the modalities gets what training rows say without looking: the most frequent class.
        """
        if not self.targets:
            raise TypeError("the model was fitted without a target; use embed")
        found = self.parameters(self.encode(rows).dataset)
        return _one({name: decide(self.targets[name], values) for name, values in found.items()})

    def embed(self, rows: Any, modality: str = JOINT) -> np.ndarray:
        """Unit embeddings float32 [N, E]; NaN for rows without that modality ("joint": without any)."""
        encoded = self.encode(rows)
        found = self.embeddings(encoded.dataset)
        if modality not in found:
            raise DataError(f"There are no embeddings of {modality!r}.{nearest(modality, found)}")
        where, values = found[modality]
        out = np.full((len(encoded.dataset), values.shape[1]), np.nan, np.float32)
        out[where] = values
        return out

    def evaluate(self, test: Any, **options: Any) -> Evaluation:
        """See `plait.evaluate`."""
        from .evaluate import evaluate

        return evaluate(self, test, **options)

    def save(self, folder: str | Path) -> Path:
        """Write the model: config.yaml, schema.yaml, model.safetensors.  RunError or DataError if the disk refuses."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.schema.save(folder / SCHEMA)
        with writing(folder / CONFIG) as part:
            part.write_text(yaml.safe_dump(self._config(), sort_keys=False, allow_unicode=True), encoding="utf-8")
        write_weights(folder, self.network.state_dict())
        self.folder = folder
        return folder

    def _config(self) -> dict[str, Any]:
        return {
            **self.info,
            "spec": describe(self.network.spec),
            "prior": self.prior,
            "recipe": self.recipe.dump(),
        }

    @classmethod
    def load(cls, folder: str | Path, cache: Path | None = None) -> Model:
        """A saved model or finished run.  RunError if the folder holds none."""
        folder = Path(folder)
        network, recipe = load_network(folder)
        said = read_config(folder)
        info = {key: value for key, value in said.items() if key not in ("spec", "prior", "recipe")}
        return cls(network, recipe, Schema.load(folder / SCHEMA), said["prior"], info, cache, folder)


def decide(target: Target, values: np.ndarray) -> np.ndarray:
    """What a head predicts -> what a user asked for: class names [N], labels [N, C] bool, numbers or risks [N]."""
    if target.kind == "multi_label":
        return values >= 0.5
    if target.classes:
        return np.asarray(target.classes, dtype=object)[values.argmax(1)]
    return values


def _one(found: dict[str, np.ndarray]) -> Any:
    return next(iter(found.values())) if len(found) == 1 else found
