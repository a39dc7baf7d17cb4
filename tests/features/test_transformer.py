"""Tests features/transformer.py: an estimator of texts in scikit-learn's pipelines, searches and workers."""

import pickle
import warnings
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import SkipTestWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ShuffleSplit, cross_val_predict
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import validate_data

import splinelens
from splinelens.errors import BadFeatures, BadTexts, SplinelensError, UnknownModel
from splinelens.features.extract import extract
from splinelens.features.reader import TextReader
from splinelens.features.transformer import GeometryFeatures
from splinelens.models.shared import forget_models

KIND = ["you are good", "the tea is fine", "what a nice thing", "we are at the sea", "thanks to you all"]
RUDE = ["you rude toad", "what a rude thing", "the rude lot of you", "go and be rude there", "rude rude you"]
TEXTS = [f"{(RUDE if row % 2 else KIND)[row // 2 % 5]} {row}" for row in range(40)]
LABELS = np.arange(40) % 2


@pytest.fixture(autouse=True)
def _no_shared_model():
    """Rows are cached by folder, and each test has another one."""
    forget_models()
    yield
    forget_models()


@pytest.fixture
def geometry(folder):
    """Makes an estimator of the tiny model."""
    return lambda **changes: GeometryFeatures(folder, **{"max_tokens": 64, "device": "cpu"} | changes)


@pytest.fixture
def detector(geometry):
    """Geometry, scaler and logistic regression in a pipeline."""
    head = LogisticRegression(max_iter=2000)
    return lambda **changes: Pipeline(
        [("geometry", geometry(**changes)), ("scale", StandardScaler()), ("head", head)]
    )


@pytest.fixture
def run_texts(monkeypatch):
    """How many texts were read, one number a chunk."""
    counts, plain = [], TextReader.tokenize

    def tokenize(self, texts):
        counts.append(len(texts))
        return plain(self, texts)

    monkeypatch.setattr(TextReader, "tokenize", tokenize)
    return counts


class NumbersAsTexts(GeometryFeatures):
    """Each row of numbers as a text: scikit-learn's checks, which know only numbers, reach our code."""

    def fit(self, X, y=None):
        return super().fit(as_texts(validate_data(self, X)), y)

    def transform(self, X):
        return super().transform(as_texts(validate_data(self, X, reset=False)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string = True, False
        return tags


def as_texts(table):
    return [" ".join(f"{number:.6g}" for number in row) for row in table]


TYPED = {
    "check_do_not_raise_errors_in_init_or_set_params": "this suite compares arguments with annotations; "
    "see the test without that below"
}


@pytest.mark.parametrize("cache_bytes", [0, 2**20])
def test_all_checks_of_scikit_learn_pass_on_numbers_as_texts(folder, cache_bytes):
    estimator = NumbersAsTexts(folder, max_tokens=64, device="cpu", cache_bytes=cache_bytes)
    results = check_estimator(estimator, on_skip=None, on_fail=None, expected_failed_checks=TYPED)
    found = {result["check_name"]: (result["status"], result["exception"]) for result in results}
    failed = {name: why for name, (status, why) in found.items() if status == "failed"}
    assert not failed
    assert {name for name, (status, _) in found.items() if status == "xfail"} <= set(TYPED)
    assert {name for name, (status, _) in found.items() if status == "skipped"} <= {"check_array_api_input"}
    assert len(results) > 35


def test_scikit_learn_finds_nothing_to_check_with_numbers_and_the_rest_passes(geometry):
    with pytest.warns(SkipTestWarning, match="requires input"):
        results = check_estimator(geometry(), on_skip=None)
    assert {result["status"] for result in results} == {"passed"}


def test_init_and_set_params_take_anything_without_the_comparison_of_types(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    (name,) = TYPED
    getattr(estimator_checks, name)("GeometryFeatures", GeometryFeatures())


def test_rows_are_those_of_extract(geometry, folder):
    texts = [*TEXTS[:5], TEXTS[0]]
    spec = {"features": ("spline7", "margins", "length"), "layers": [2, 0], "pooling": ["max", "mean"]}
    table = extract(texts, folder, max_tokens=64, **spec)
    values = geometry(**spec).fit_transform(texts)
    assert values.dtype == np.float32
    assert values == pytest.approx(table.values, rel=1e-4, abs=1e-5)
    assert (values[0] == values[5]).all()


def test_names_tell_layer_statistic_and_entry(geometry):
    names = geometry(features=("margins", "sign_mean", "length"), layers=[1]).get_feature_names_out()
    assert names.tolist() == [
        "layer01.sign_mean",
        *(f"layer01.margin_max[{neuron}]" for neuron in range(48)),
        "length",
    ]
    assert names.dtype == object
    assert (
        len(names) == geometry(features=("margins", "sign_mean", "length"), layers=[1]).transform(["a"]).size
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"features": 3}, "features=3: need one name, or a list of names"),
        ({"features": None}, "features=None"),
        ({"features": ["margins", 3]}, r"features=\['margins', 3\]"),
        ({"features": b"margins"}, "features=b'margins'"),
        ({"features": "nothing"}, "no feature 'nothing'"),
        ({"features": []}, "no statistic chosen"),
        ({"pooling": 3}, "pooling=3"),
        ({"layers": "a"}, "layers='a': need a list of whole numbers from 0"),
        ({"layers": "01"}, "layers='01'"),
        ({"layers": 3}, "layers=3"),
        ({"layers": [0.5]}, "0.5 is not a layer: give a whole number from 0"),
        ({"layers": [True]}, "True is not a layer"),
        ({"prompt": 3}, "prompt=3"),
        ({"prompt": None}, "prompt=None"),
        ({"max_tokens": "12"}, "max_tokens='12'"),
        ({"long": 3}, "long=3"),
        ({"normalize": "yes"}, "normalize='yes'"),
        ({"unreadable": None}, "unreadable=None"),
        ({"revision": 3}, "revision=3: need a name, or None"),
        ({"device": 0}, "device=0"),
        ({"cache": 3}, "cache=3"),
        ({"cache_bytes": "1"}, "cache_bytes='1'"),
        ({"model": 3}, "model is a int"),
    ],
)
def test_a_parameter_of_a_wrong_kind_is_refused_in_our_words(wrong, words, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # an annotation alone would refuse some
    for call in (GeometryFeatures.fit, GeometryFeatures.transform, GeometryFeatures.get_feature_names_out):
        with pytest.raises(BadFeatures, match=words):
            call(GeometryFeatures().set_params(**wrong), ["a text"])  # init's types are checked in tests


def test_texts_that_cannot_be_read_raise_with_their_row_and_without_their_words(geometry):
    texts = [*TEXTS, "", None, "secret\0word"]
    with pytest.raises(BadTexts, match=r"row 40 \(counted from 0\) is empty; .*unreadable='nan'"):
        geometry().transform(texts)
    with pytest.raises(BadTexts) as caught:
        geometry().transform(["secret\0word"])
    assert "secret" not in str(caught.value)


def test_or_they_give_rows_of_nan(geometry):
    texts = ["", TEXTS[0], None, float("nan"), TEXTS[1], ""]
    for _ in range(2):  # read, then from the cache
        values = geometry(unreadable="nan").transform(texts)
        assert np.isnan(values).all(axis=1).tolist() == [True, False, True, True, False, True]
        assert np.isfinite(values[[1, 4]]).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features": "splines7"}, "did you mean spline7"),
        ({"pooling": ("max", "median")}, "no pooling 'median'"),
        ({"layers": "0-5"}, "layers='0-5'"),
        ({"layers": [-1]}, r"layers \[-1\] do not exist"),
        ({"layers": []}, "no layer"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"long": "chop"}, "long='chop'"),
        ({"unreadable": "skip"}, "unreadable='skip'"),
        ({"cache_bytes": -1}, "cache_bytes=-1"),
        ({"model": object()}, "model is a object.*loaded model cannot be cloned"),
        ({"layers": [9]}, "cannot load 10 blocks"),
    ],
)
def test_parameters_that_cannot_be_are_refused(geometry, changes, words, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # an annotation alone would refuse some
    estimator = geometry().set_params(**changes)
    late = words.startswith(("no layer", "cannot load"))  # that is only known with the model
    with pytest.raises(SplinelensError, match=words):
        estimator.transform(["a"]) if late else estimator.fit(["a"])


def test_fit_loads_no_model():
    estimator = GeometryFeatures("no-such-model")
    assert estimator.fit(["a"]) is estimator
    assert estimator.fit() is estimator
    with pytest.raises(BadTexts):
        estimator.fit([3])
    with pytest.raises(UnknownModel):
        estimator.transform(["a"])


def test_a_text_is_read_once(geometry, run_texts):
    first = geometry().transform([*TEXTS, *TEXTS])
    again = clone(geometry()).fit_transform(TEXTS[::-1])
    assert run_texts == [40]
    assert (first[:40] == again[::-1]).all()
    geometry().transform([*TEXTS[:3], "a new one"])
    geometry(layers=[0]).transform(TEXTS[:2])
    geometry(cache_bytes=0).transform(TEXTS[:2])
    assert run_texts == [40, 1, 2, 2]


ROW_BYTES = 4 * 7 + 256
"""Of the seven features of one layer; a cached row has some overhead."""


def test_a_full_cache_keeps_what_fits(geometry, run_texts):
    """The same texts are read again in the same order: the first rows are found each time."""
    for _ in range(3):
        geometry(layers=[0], cache_bytes=5 * ROW_BYTES + 10).transform(TEXTS)
    assert run_texts == [40, 35, 35]


def test_rows_of_the_spec_used_longest_ago_are_dropped_first(geometry, run_texts):
    def read(layer):
        run_texts.clear()
        geometry(layers=[layer], cache_bytes=10 * ROW_BYTES + 10).transform(TEXTS[:5])
        return sum(run_texts)

    assert [read(layer) for layer in (0, 1)] == [5, 5]
    assert [read(layer) for layer in (1, 0)] == [0, 0]
    assert read(2) == 5  # drops those of layer 1
    assert [read(layer) for layer in (0, 2, 1)] == [0, 0, 5]


def test_cached_rows_are_copies(geometry):
    first = geometry().transform(TEXTS[:2])
    expected = first.copy()
    first[:] = 7
    assert (geometry().transform(TEXTS[:2]) == expected).all()


def test_a_grid_search_reads_each_text_once_for_each_spec(detector, run_texts):
    grid = {"geometry__features": ["spline7", ("margins",)], "geometry__layers": [[0], [0, 1, 2], None]}
    grid |= {"head__C": [0.1, 1.0]}
    search = GridSearchCV(detector(), grid, cv=3, error_score="raise").fit(TEXTS, LABELS)
    assert len(search.cv_results_["params"]) == 12
    assert search.best_score_ > 0.9
    assert sum(run_texts) == 6 * len(TEXTS)  # not 12 candidates times 3 folds, and once more at the end


def test_a_worker_of_joblib_loads_the_model_for_itself(detector, monkeypatch):
    """One fit for two workers, so that only one of them imports what it needs."""
    monkeypatch.setenv("PYTHONPATH", str(Path(splinelens.__file__).parents[1]))
    grid, half = {"geometry__layers": [[1]]}, ShuffleSplit(1, test_size=0.5, random_state=0)
    single = GridSearchCV(detector(features="margins"), grid, cv=half, error_score="raise").fit(TEXTS, LABELS)
    pair = clone(single).set_params(n_jobs=2).fit(TEXTS, LABELS)
    assert pair.cv_results_["mean_test_score"] == pytest.approx(single.cv_results_["mean_test_score"])
    assert pair.predict(TEXTS).tolist() == single.predict(TEXTS).tolist()


def test_threads_take_turns(detector):
    import joblib

    with joblib.parallel_backend("threading", n_jobs=4):
        shares = cross_val_predict(detector(cache_bytes=0), TEXTS, LABELS, cv=4, method="predict_proba")
    single = cross_val_predict(detector(), TEXTS, LABELS, cv=4, method="predict_proba")
    assert shares == pytest.approx(single, abs=1e-3)


def test_a_pickle_holds_no_model(detector):
    fitted = detector(features="margins").fit(TEXTS, LABELS)
    stored = pickle.dumps(fitted["geometry"])
    assert len(stored) < 2000
    forget_models()
    again = pickle.loads(pickle.dumps(fitted))
    assert again.predict_proba(TEXTS) == pytest.approx(fitted.predict_proba(TEXTS), abs=1e-5)


def test_it_works_with_word_counts_in_a_union(geometry):
    union = FeatureUnion([("geometry", geometry()), ("words", TfidfVectorizer())])
    values = union.fit_transform(TEXTS)
    names = union.get_feature_names_out()
    assert values.shape == (40, len(names))
    assert {"geometry__layer00.sign_mean", "words__rude"} <= set(names)
    head = LogisticRegression(max_iter=2000)
    assert Pipeline([("both", union), ("head", head)]).fit(TEXTS, LABELS).score(TEXTS, LABELS) > 0.9


def test_it_reads_the_text_column_of_a_table(geometry):
    table = np.array([[text, number] for number, text in enumerate(TEXTS)], dtype=object)
    for column in (0, [0]):  # as a Series would come, and as a frame of one column
        columns = ColumnTransformer([("geometry", geometry(), column)])
        assert (columns.fit_transform(table) == geometry().transform(TEXTS)).all()


def test_it_can_put_names_on_its_columns(geometry):
    pytest.importorskip("pandas")
    frame = geometry(layers=[0]).set_output(transform="pandas").fit_transform(TEXTS[:2])
    assert frame.columns[0] == "layer00.sign_mean"


def test_its_tags_tell_that_it_takes_texts():
    tags = sklearn.utils.get_tags(GeometryFeatures())
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    assert not tags.requires_fit


def test_a_repr_and_its_page_can_be_shown(geometry):
    assert repr(geometry(features=("margins",))).startswith("GeometryFeatures(")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "GeometryFeatures" in geometry()._repr_html_()
