"""Estimators for scikit-learn: `clone`, `cross_val_score`, `GridSearchCV` and `Pipeline` take them.

X is anything with rows that `plait.read` takes: a data frame, an Arrow table, a list of dicts, a dict of columns (for
`fit` and `predict`; scikit-learn itself cannot take rows of it).  None and NaN are absent cells, and at prediction a
column that is not there is a column of them.
A two-dimensional array is a table whose columns are called x0, x1 ...: one tabular modality if it holds numbers.
Embeddings that belong together are one column of vectors instead: `{"image": embeddings}`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import scipy.sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import assert_all_finite, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from plait.core.errors import DataError
from plait.core.recipe import Recipe
from plait.data.read import read
from plait.data.schema import Target
from plait.data.splits import split, strata
from plait.data.table import Table

from .fit import fit
from .model import Model


class InputError(DataError, ValueError):
    """X, y or a parameter that cannot be used; a ValueError too, as scikit-learn has it."""


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """recipe: a file, a name or plain data; None: chosen from the table.  settings: `slot.key=value` of the recipe.

    kinds: {column: kind} where it is not to be inferred.  validation_fraction: share of the rows that make the
    training's choices; where there are few rows, they are learned from afterwards.  random_state: int; equal ones give
    equal models.
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

    def _fit(self, X: Any, labels: pa.Array, kind: Any, classes: tuple[str, ...] | None, groups: Any) -> Self:
        if not 0 < self.validation_fraction < 1:
            raise InputError(f"validation_fraction is {self.validation_fraction}, expected a share between 0 and 1.")
        table, names = self._columns(X)
        check_consistent_length(table.ids, labels, groups)
        column = "y"
        while column in table.names:
            column += "_"
        labelled = Table(
            table.columns.append_column(column, labels),
            table.schema.with_target(column, Target(kind=kind, columns=(column,), classes=classes)),
            root=table.root,
            quarantine=table.quarantine,
            notes=table.notes,
        )
        rows = split(
            labelled.ids,
            fractions=(1 - self.validation_fraction, self.validation_fraction, 0.0),
            seed=self.random_state,
            groups=None if groups is None else list(groups),
            stratify=strata(labelled),
        )
        found = fit(labelled, recipe=self.recipe, settings=self.settings, seed=self.random_state, splits=rows)
        self.model_: Model = found.model
        self.n_features_in_ = len(table.names)
        self.__dict__.pop("feature_names_in_", None)
        if names is not None:
            self.feature_names_in_ = np.asarray(names, dtype=object)
        return self

    def _columns(self, X: Any) -> tuple[Table, list[str] | None]:
        """X as a table, and the names of its columns if it came with any."""
        if not _is_array(X):
            table = read(X, kinds=self.kinds)
            if not len(table):
                raise InputError("X has 0 sample(s), at least 1 is needed.")
            return table, table.names
        columns = _named(X, [])
        kinds = {name: "number" for name, values in columns.items() if values.dtype != object}
        return read(columns, kinds={**kinds, **(self.kinds or {})}), None

    def _decisions(self, X: Any) -> np.ndarray:
        """What the head predicts for each row, float64."""
        check_is_fitted(self)
        if _is_array(X):
            X = _named(X, list(getattr(self, "feature_names_in_", [])))
            if len(X) != self.n_features_in_:
                raise InputError(
                    f"X has {len(X)} features, but {type(self).__name__} is expecting {self.n_features_in_} features "
                    "as input."
                )
        (found,) = self.model_.parameters(self.model_.encode(X).dataset).values()
        return found.astype(np.float64)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        if "model_" in state:
            state["model_"] = _packed(state["model_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "model_" in state:
            state = {**state, "model_": _unpacked(state["model_"])}
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        for what in ("allow_nan", "categorical", "dict", "string"):
            setattr(tags.input_tags, what, True)
        return tags


class MultimodalClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    __doc__ = f"""A `plait.fit` of one class target.

    {_Estimator.__doc__}
    Fitted: classes_ [C], model_ (a `plait.Model`), n_features_in_ (columns of X), feature_names_in_ (if they have any).
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Train.  y: [N] labels.  groups: [N]; rows of one group are all for training or all for validation.

        InputError if y has fewer than two classes; ValueError if X and y do not fit together.
        """
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            found = ", ".join(["one class" if len(classes) else "no class", *map(repr, classes.tolist())])
            raise InputError(f"y has {found}; two are needed, or there is nothing to tell apart.")
        names = [str(label) for label in classes]
        if len(set(names)) < len(names) or any(not name or name != name.strip() for name in names):
            names = [str(code) for code in range(len(names))]  # a table would read some of them as equal or as nothing
        self._fit(X, pa.array([names[code] for code in codes], pa.large_string()), "class", tuple(names), groups)
        self.classes_ = classes
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """[N, C], in the order of `classes_`.  For a row that has nothing, the shares of the training rows."""
        shares = self._decisions(X)
        return np.asarray(shares / shares.sum(1, keepdims=True))

    def predict(self, X: Any) -> np.ndarray:
        """[N] labels."""
        shares = self.predict_proba(X)
        return np.asarray(self.classes_[shares.argmax(1)])


class MultimodalRegressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    __doc__ = f"""A `plait.fit` of one number.

    {_Estimator.__doc__}
    Fitted: model_ (a `plait.Model`), n_features_in_ (columns of X), feature_names_in_ (if they have any).
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Train.  y: [N] numbers.  groups: [N]; rows of one group are all for training or all for validation.

        ValueError if X and y do not fit together.
        """
        y = column_or_1d(y, warn=True).astype(np.float64)
        assert_all_finite(y, input_name="y")
        return self._fit(X, pa.array(y), "number", None, groups)

    def predict(self, X: Any) -> np.ndarray:
        """[N] numbers; for a row that has nothing, the mean of the training rows."""
        return self._decisions(X)


def _is_array(X: Any) -> bool:
    """Whether X is rows without column names."""
    if isinstance(X, np.ndarray) or scipy.sparse.issparse(X):
        return True
    if isinstance(X, Sequence) and not isinstance(X, str):
        return not (len(X) and isinstance(X[0], Mapping))
    return hasattr(X, "__array__") and not hasattr(X, "columns")


def _named(X: Any, names: list[str]) -> dict[str, np.ndarray]:
    """The columns of an array, called x0, x1 ... unless there are as many `names`.  ValueError if it is not 2-D."""
    values = check_array(X, dtype=None, ensure_all_finite="allow-nan")
    if len(names) != values.shape[1]:
        names = [f"x{i}" for i in range(values.shape[1])]
    if values.dtype.kind in "US":
        values = values.astype(object)
    return {name: values[:, i] for i, name in enumerate(names)}


def _packed(model: Model) -> dict[str, bytes]:
    """A saved model as {file: content}."""
    folder = model.folder
    with tempfile.TemporaryDirectory() as place:
        model.save(place)
        model.folder = folder
        return {path.name: path.read_bytes() for path in Path(place).iterdir()}


def _unpacked(files: Mapping[str, bytes]) -> Model:
    with tempfile.TemporaryDirectory() as place:
        for name, content in files.items():
            Path(place, name).write_bytes(content)
        model = Model.load(place)
    model.folder = None
    return model
