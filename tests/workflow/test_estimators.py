from __future__ import annotations

import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from plait.core.errors import PlaitError
from plait.workflow.estimators import MultimodalClassifier, MultimodalRegressor

FAST = (
    "width=16",
    "embedding=8",
    "fusion=concatenation",
    "objectives.singles=null",
    "training.epochs=8",
    "training.batch=16",
    "training.ema=null",
    "training.optimizer.adamw.lr=0.03",
)

# Nor would check_dataframe_column_names_consistency, which is not among these: a column that is not there is absent.
NOT_MET = {
    "check_methods_subset_invariance": "float32 sums depend on the batch in the last bits, more than 1e-7 apart",
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLAIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@parametrize_with_checks(
    [MultimodalClassifier(settings=FAST), MultimodalRegressor(settings=FAST)],
    expected_failed_checks=lambda estimator: NOT_MET,
)
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


def frame(n=60, seed=0):
    """Text and two numbers that tell the class, with a third of the texts missing."""
    rng = np.random.default_rng(seed)
    y = np.array(["dove", "crow"])[np.arange(n) % 2]
    text = [
        f"{'white' if kind == 'dove' else 'black'} bird, seen {i} times" if i % 3 else None for i, kind in enumerate(y)
    ]
    x = (y == "crow") * 2.0 + rng.normal(scale=0.5, size=n)
    return pd.DataFrame({"text": text, "x": x, "z": rng.normal(size=n)}), y


def classifier(**more):
    return MultimodalClassifier(settings=(*FAST, "encoders.text=hashed_text"), kinds={"text": "text"}, **more)


@pytest.fixture(scope="module")
def fitted():
    X, y = frame()
    return classifier().fit(X, y)


def test_it_learns_from_a_frame_and_says_what_it_was_given(fitted):
    X, y = frame(seed=1)
    assert fitted.score(X, y) > 0.9
    assert fitted.classes_.tolist() == ["crow", "dove"]
    assert fitted.n_features_in_ == 3
    assert fitted.feature_names_in_.tolist() == ["text", "x", "z"]
    assert {m.kind for m in fitted.model_.schema.modalities.values()} == {"text", "tabular"}


@pytest.mark.parametrize(
    "form",
    [
        lambda X: X,
        pl.from_pandas,
        lambda X: pa.Table.from_pandas(X, preserve_index=False),
        lambda X: X.to_dict("records"),
        lambda X: {name: X[name].tolist() for name in X.columns},
        lambda X: X.to_numpy(dtype=object),
    ],
    ids=["pandas", "polars", "arrow", "rows", "columns", "array"],
)
def test_every_form_of_the_same_rows_is_predicted_alike(fitted, form):
    X, _ = frame(seed=2)
    np.testing.assert_allclose(fitted.predict_proba(form(X)), fitted.predict_proba(X), rtol=1e-5)


def test_probabilities_of_a_row_without_anything_are_the_shares_of_the_training_rows(fitted):
    X = pd.DataFrame({"text": [None, "a white bird"], "x": [np.nan, 0.0], "z": [np.nan, 0.1]})
    shares = fitted.predict_proba(X)
    np.testing.assert_allclose(shares[0], fitted.model_.prior[next(iter(fitted.model_.prior))], rtol=1e-6)
    np.testing.assert_allclose(shares.sum(1), 1)


def test_a_column_that_is_not_there_is_absent(fitted):
    X, _ = frame(seed=3)
    np.testing.assert_array_equal(
        fitted.predict_proba(X.drop(columns="text")), fitted.predict_proba(X.assign(text=[None] * len(X)))
    )


@pytest.mark.parametrize("copy", [lambda e: pickle.loads(pickle.dumps(e)), lambda e: _through_joblib(e)])
def test_a_pickled_estimator_predicts_the_same_bits(fitted, copy):
    X, _ = frame(seed=4)
    again = copy(fitted)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    assert again.get_params() == fitted.get_params()
    assert again.model_.folder is None


def _through_joblib(estimator):
    import io

    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    return joblib.load(file)


def test_pickling_leaves_the_estimator_alone(fitted):
    folder = fitted.model_.folder
    pickle.dumps(fitted)
    assert fitted.model_.folder == folder


def test_a_clone_is_unfitted_with_the_same_parameters(fitted):
    other = clone(fitted)
    assert other.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        other.predict(frame()[0])


def test_equal_seeds_give_equal_models():
    X, y = frame(30)
    one, two = (classifier(random_state=5).fit(X, y).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, classifier(random_state=6).fit(X, y).predict_proba(X))


def test_cross_validation_of_a_frame():
    X, y = frame(60)
    assert cross_val_score(classifier(), X, y, cv=2).mean() > 0.8


def test_cross_validation_of_rows_and_groups():
    X, y = frame(40)
    scores = cross_val_score(classifier(), X.to_dict("records"), y, groups=np.arange(40) // 2, cv=GroupKFold(2))
    assert scores.mean() > 0.8


def test_grid_search_chooses_between_settings():
    X, y = frame(40)
    good = (*FAST, "encoders.text=hashed_text")
    search = GridSearchCV(classifier(), {"settings": [(*good, "training.epochs=0"), good]}, cv=2, error_score="raise")
    assert search.fit(X, y).best_params_["settings"] == good


def test_a_pipeline_of_arrays_and_one_of_frames():
    X, y = frame(60)
    numbers = make_pipeline(StandardScaler(), MultimodalRegressor(settings=FAST)).fit(X[["x", "z"]], X["x"] * 10)
    assert numbers.score(X[["x", "z"]], X["x"] * 10) > 0.8
    rows = make_pipeline(FunctionTransformer(lambda X: X.assign(w=X["x"] - X["z"])), classifier()).fit(X, y)
    assert rows.score(X, y) > 0.9


def test_vectors_are_columns_of_a_dict():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = {"image": np.eye(8)[y] * 3 + rng.normal(size=(60, 8)), "note": rng.normal(size=60)}
    found = MultimodalClassifier(settings=FAST).fit(X, y)
    assert found.model_.schema.modalities["image"].kind == "vector"
    assert (found.predict(X) == y).mean() > 0.8
    assert found.predict(X).dtype == y.dtype


def test_an_array_is_a_tabular_modality_whatever_its_numbers_look_like():
    X = np.column_stack([np.arange(30), np.arange(30) % 2]).astype(float)
    found = MultimodalClassifier(settings=FAST).fit(X, X[:, 1] > 0)
    (modality,) = found.model_.schema.modalities.values()
    assert (modality.kind, modality.columns, modality.categories) == ("tabular", ("x0", "x1"), {})
    assert found.classes_.dtype == bool


@pytest.mark.parametrize("labels", [["a", " a"], ["", "b"], [1.0, 2.0], [True, False]])
def test_labels_come_back_as_they_were(labels):
    y = np.array(labels * 12)
    X = np.column_stack([(y == y[0]) * 5.0, np.arange(24.0)])
    assert set(MultimodalClassifier(settings=FAST).fit(X, y).predict(X)) == set(labels)


def test_a_column_called_y_is_an_input_like_any_other():
    y = np.arange(24) % 2
    found = MultimodalClassifier(settings=FAST).fit(pd.DataFrame({"y": y * 2.0, "z": np.arange(24.0)}), y)
    assert found.model_.schema.modalities["tabular"].columns == ("y", "z")


def test_groups_stay_on_one_side_of_the_validation_split(monkeypatch):
    import plait.workflow.estimators as module

    drawn = {}
    original = module.split

    def seen(*args, **options):
        drawn.update(original(*args, **options))
        return drawn

    monkeypatch.setattr(module, "split", seen)
    X, y = frame(40)
    groups = np.arange(40) // 4
    classifier().fit(X, y, groups=groups)
    assert not set(groups[drawn["train"]]) & set(groups[drawn["validation"]])
    assert not len(drawn["test"])
    assert len(drawn["validation"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X, np.array(["same"] * len(X))), "one class, 'same'"),
        (lambda X, y: (X[:-1], y), "inconsistent numbers"),
        (lambda X, y: (X[:0], y), "0 sample"),
    ],
)
def test_what_cannot_be_learned_is_a_value_error(change, message):
    X, y = frame(20)
    with pytest.raises(ValueError, match=message):
        classifier().fit(*change(X, y))


def test_a_wrong_setting_says_where():
    X, y = frame(20)
    with pytest.raises(PlaitError, match=r"training.*epoch"):
        MultimodalClassifier(settings=["training.epoch=1"]).fit(X, y)
    with pytest.raises(ValueError, match="validation_fraction"):
        classifier(validation_fraction=1.5).fit(X, y)
