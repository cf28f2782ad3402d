"""Estimators for scikit-learn: `clone`, `cross_val_score`, `GridSearchCV` and `Pipeline` take them.

X is anything with rows that `plait.read` takes: a data frame, an Arrow table, a list of dicts, a dict of columns (for
`fit` and `predict` only: scikit-learn cannot take rows of it).  A two-dimensional array is a table whose columns are
called x0, x1 ..., and so one tabular modality; a block of precomputed embeddings goes as a column of vectors instead,
`{"image": embeddings}`.  None and NaN are absent cells.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from plait.core.errors import DataError
from plait.core.recipe import Recipe
from plait.data.read import read
from plait.data.schema import Target
from plait.data.splits import split, strata
from plait.data.table import Table, as_label

from .fit import fit
from .model import Model


class InputError(DataError, ValueError):
    """X or y cannot be used; a ValueError, as scikit-learn expects."""


class _Estimator(BaseEstimator):
    """recipe: a file, a name or plain data; None: chosen from the table.  settings: `slot.key=value` of the recipe.

    kinds: {column: kind} where they are not to be inferred.  validation_fraction: share of the rows that choose the
    best epoch.  random_state: an int; equal ones give equal models.

    Fitted: model_ (a `plait.Model`), n_features_in_ (columns of X), feature_names_in_ (if all are text).
    """

    def __init__(
        self,
        recipe: str | Path | Mapping[str, Any] | Recipe | None = None,
        settings: Sequence[str] = (),
        kinds: Mapping[str, str] | None = None,
        validation_fraction: float = 0.15,
        random_state: int = 0,
    ) -> None:
        self.recipe = recipe
        self.settings = settings
        self.kinds = kinds
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def _train(self, X: Any, labels: pa.Array, target: Target, groups: Any) -> Self:
        if not 0 < self.validation_fraction < 1:
            raise InputError(f"validation_fraction is {self.validation_fraction}, expected a share between 0 and 1.")
        table = self._read(X, fitting=True)
        check_consistent_length(table, labels, groups)
        schema = table.schema.with_target(target.columns[0], target)
        columns = table.columns.append_column(target.columns[0], labels)
        labelled = Table(columns, schema, root=table.root, quarantine=table.quarantine, notes=table.notes)
        fractions = (1 - self.validation_fraction, self.validation_fraction, 0.0)
        rows = split(
            labelled.ids,
            fractions=fractions,
            seed=self.random_state,
            groups=None if groups is None else list(groups),
            stratify=strata(labelled),
        )
        found = fit(labelled, recipe=self.recipe, settings=self.settings, seed=self.random_state, splits=rows)
        self.model_: Model = found.model
        return self

    def _read(self, X: Any, fitting: bool = False) -> Table:
        """A table of X; its columns are noted when fitting, and counted afterwards if X is an array."""
        if isinstance(X, np.ndarray) or hasattr(X, "toarray"):
            X = _columns(X)
        elif not isinstance(X, (Mapping, Table)) and not len(X):
            raise InputError("Found array with 0 sample(s) while a minimum of 1 is required: X has no rows.")
        if not fitting:
            self._check_columns(X)
            return self.model_.read(X)
        table = read(X, kinds=self.kinds)
        if not len(table):
            raise InputError("X has no rows (0 sample(s)).")
        self.n_features_in_ = len(table.names)
        names = getattr(X, "columns", None)
        if hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        if names is not None and all(isinstance(name, str) for name in names):
            self.feature_names_in_ = np.asarray(list(names), dtype=object)
        return table
