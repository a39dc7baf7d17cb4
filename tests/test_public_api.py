"""What a user of transformers, pandas and scikit-learn types, on tiny models."""

import functools
import inspect
import logging
from dataclasses import replace

import numpy as np
import pyarrow
import pytest

import splinelens

KIND = ["you are good", "the tea is fine", "what a nice thing", "we are at the sea", "thanks to you all"]
RUDE = ["you rude toad", "what a rude thing", "the rude lot of you", "go and be rude there", "rude rude you"]
TEXTS = [f"{(RUDE if row % 2 else KIND)[row // 2 % 5]} {row}" for row in range(40)]
WORDS = ["toxic" if row % 2 else "clean" for row in range(40)]
_TRAINED = {}  # what takes a second is made once


@pytest.fixture
def tiny_folder(tmp_path, tiny_llama, tiny_tokenizer):
    """The tiny Llama and its tokenizer as a folder."""
    folder = tmp_path / "tiny"
    tiny_llama.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def trained(tiny_folder):
    """A training on words."""
    if "trained" not in _TRAINED:
        _TRAINED["trained"] = splinelens.train(TEXTS, WORDS, tiny_folder, layers=[0, 1], device="cpu")
    return _TRAINED["trained"]


def test_the_package_offers_what_one_calls_and_errors_in_their_own_module():
    offered = dir(splinelens)
    assert {"Detector", "FeatureSpec", "train", "evaluate", "errors", "__version__"} <= set(offered)
    assert not [name for name in offered if name.startswith(("Bad", "Cannot", "Unknown", "import_"))]
    assert issubclass(splinelens.errors.BadTexts, splinelens.errors.SplinelensError)


def test_a_model_of_a_folder_is_loaded_up_to_some_layers(tiny_folder):
    loaded = splinelens.load_model(tiny_folder, n_layers=2, device="cpu")
    assert loaded.depth == 2
    numpy = splinelens.load_model(tiny_folder, n_layers=np.int64(2), device="cpu")
    assert type(numpy.depth) is int
    with pytest.raises(splinelens.errors.BadFeatures, match="cannot load True blocks"):
        splinelens.load_model(tiny_folder, n_layers=True, device="cpu")
    with pytest.raises(splinelens.errors.BadFeatures, match=r"cannot load 9 blocks: .*tiny has 3"):
        splinelens.load_model(tiny_folder, n_layers=9, device="cpu")


def test_a_detector_is_trained_saved_loaded_and_scores_alike(trained, tiny_folder, tmp_path):
    detector = trained.detector
    assert trained.artifact.metrics["out_of_fold"]["n"] == 40
    detector.save(tmp_path / "mine")
    again = splinelens.Detector.load(tmp_path / "mine", model=tiny_folder, device="cpu", batch_tokens=64)
    assert again.predict_proba(TEXTS) == pytest.approx(detector.predict_proba(TEXTS))
    assert (tmp_path / "mine" / "CARD.md").is_file()


def test_probabilities_have_a_column_a_class_and_nan_where_nothing_was_read(trained):
    detector = trained.detector
    probabilities = detector.predict_proba(["you rude toad", "the tea is fine", "", None])
    assert detector.classes_.tolist() == ["clean", "toxic"]
    assert probabilities.shape == (4, 2)
    assert probabilities[:2].sum(axis=1) == pytest.approx(1)
    assert np.isnan(probabilities[2:]).all()
    verdicts = detector.predict(["you rude toad", "the tea is fine", ""])
    assert verdicts.tolist() == ["toxic", "clean", "undetermined"]


def test_probabilities_of_classes_add_up_to_one(tiny_folder):
    kinds = [("sea", "tea", "rude")[row % 3] for row in range(45)]
    texts = [f"{kind} {KIND[row % 5]} {kind} {row}" for row, kind in enumerate(kinds)]
    detector = splinelens.train(texts, kinds, tiny_folder, layers=[0], device="cpu").detector
    assert detector.classes_.tolist() == ["rude", "sea", "tea"]
    assert detector.predict_proba(TEXTS[:3]).sum(axis=1) == pytest.approx(1)
    assert set(detector.predict(TEXTS[:3])) <= {"rude", "sea", "tea"}


def test_several_labels_are_a_table_of_zeros_and_ones(tiny_folder):
    table = {"rude": [row % 2 for row in range(40)], "loud": [int(row % 4 > 1) for row in range(40)]}
    texts = [f"{text}{'!!!!' * loud}" for text, loud in zip(TEXTS, table["loud"], strict=True)]
    detector = splinelens.train(texts, table, tiny_folder, layers=[0], device="cpu").detector
    assert detector.classes_.tolist() == ["rude", "loud"]
    fired = detector.predict([TEXTS[1], ""])
    assert fired.shape == (2, 2)
    assert np.isnan(fired[1]).all()
    array = np.stack([table["rude"], table["loud"]], axis=1)
    measured = splinelens.evaluate(detector, texts, array, allow_training_rows=True, resamples=0)
    assert set(measured.labels) == {"rude", "loud"}


@pytest.mark.parametrize("kind", ["words", "numbers", "array", "pandas", "polars"])
def test_a_detector_is_measured_on_labels_of_any_kind(trained, kind):
    polars, pandas = pytest.importorskip("polars"), pytest.importorskip("pandas")
    bits = [row % 2 for row in range(40)]
    labels = {
        "words": WORDS,
        "numbers": bits,
        "array": np.array(bits, dtype=bool),
        "pandas": pandas.Series(bits),
        "polars": polars.Series(bits),
    }[kind]
    new = [f"{text} again" for text in TEXTS]
    assert splinelens.evaluate(trained.detector, new, labels, resamples=0).n == 40


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": WORDS[:9]}, "9 labels 'positive' for 40 texts"),
        ({"labels": [*WORDS[:39], None]}, "1 of 40 labels 'positive' are missing, the first in row 39"),
        ({"labels": "toxic"}, "labels is a str"),
        ({"labels": ["toxic"] * 40}, "is toxic|holds 'toxic'|in all 40 rows"),
        ({"features": "margin"}, "margin"),
        ({"layers": [-1]}, "counted from 0"),
        ({"by_length": 2}, "by_length=2: need a share from 0 to 1"),
    ],
    ids=["few", "missing", "a word", "one class", "features", "layers", "share"],
)
def test_train_refuses_wrong_options_before_it_loads_a_model(change, words):
    options = {"labels": WORDS, "model": "owner/that-is-nowhere", **change}
    with pytest.raises((splinelens.errors.BadLabels, splinelens.errors.BadFeatures), match=words):
        splinelens.train(TEXTS, **options)


@pytest.mark.parametrize("kind", ["frame", "dictionary", "generator", "arrow", "arrow column"])
def test_labels_in_a_table_or_a_generator_are_read_once_and_by_column(trained, kind):
    pandas = pytest.importorskip("pandas")
    bits = [row % 2 for row in range(40)]
    labels = {
        "frame": pandas.DataFrame({"toxic": bits}),
        "dictionary": {"toxic": bits},
        "generator": (bit for bit in bits),
        "arrow": pyarrow.table({"toxic": bits}),
        "arrow column": pyarrow.chunked_array([WORDS]),
    }[kind]
    new = [f"{text} again" for text in TEXTS]
    assert splinelens.evaluate(trained.detector, new, labels, resamples=0).n == 40


def test_two_words_of_which_none_is_harmless_need_a_positive_one(tiny_folder, trained):
    labels = ["rude" if row % 2 else "polite" for row in range(40)]
    with pytest.raises(splinelens.errors.BadLabels, match=r"--positive VALUE \(Python: positive=VALUE\)"):
        splinelens.train(TEXTS, labels, tiny_folder)
    made = splinelens.train(TEXTS, labels, tiny_folder, positive="rude", layers=[0], device="cpu")
    assert made.detector.classes_.tolist() == ["polite", "rude"]
    new = [f"{text} again" for text in TEXTS]
    with pytest.raises(splinelens.errors.BadLabels, match=r"\(Python: positive=VALUE\)"):
        splinelens.evaluate(trained.detector, new, labels)
    found = splinelens.evaluate(trained.detector, new, labels, positive="rude", resamples=0)
    assert found.auc == splinelens.evaluate(trained.detector, new, WORDS, resamples=0).auc


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_tokens": 0}, "max_tokens=0: need a positive number"),
        ({"max_text_tokens": -1}, "max_text_tokens=-1: need a positive number"),
        ({"batch_tokens": -5}, "batch_tokens=-5: need a positive number"),
        ({"batch_tokens": 0}, "batch_tokens=0: need a positive number"),
    ],
    ids=["max_tokens", "max_text_tokens", "negative batch", "empty batch"],
)
def test_limits_are_checked_before_a_model_is_loaded(change, words):
    nowhere = "owner/that-is-nowhere"
    for use in (
        lambda: splinelens.extract(TEXTS, nowhere, **change),
        lambda: splinelens.train(TEXTS, WORDS, nowhere, **change),
        lambda: splinelens.Detector.load("toxicity-fast", model=nowhere, **change),
        lambda: splinelens.evaluate("toxicity-fast", TEXTS, WORDS, model=nowhere, **change),
    ):
        with pytest.raises(splinelens.errors.BadFeatures, match=words):
            use()


def test_outputs_are_refused_before_any_text_is_read(trained, tiny_folder, tmp_path):
    with pytest.raises(splinelens.errors.BadTexts, match=r"ends in '\.xlsx'; use one of"):
        trained.detector.write_scores(TEXTS, tmp_path / "scores.xlsx", progress=pytest.fail)
    file, nowhere = tmp_path / "table.parquet", "owner/that-is-nowhere"
    splinelens.extract(TEXTS[:3], tiny_folder, layers=[0], device="cpu", output=file)
    for texts, options in ((TEXTS[:2], {}), (TEXTS[:3], {"eps": 0.2}), (TEXTS[:3], {"prefixes": True})):
        with pytest.raises(splinelens.errors.OutputExists, match="it exists"):
            splinelens.extract(texts, nowhere, layers=[0], output=file, **options)
    with pytest.raises(splinelens.errors.OutputExists, match="it exists"):
        splinelens.train(TEXTS, WORDS, nowhere, output=file)
    assert len(splinelens.extract(TEXTS[:3], tiny_folder, layers=[0], device="cpu", output=file)) == 3


def test_evaluate_refuses_texts_that_the_detector_was_fitted_on(trained):
    with pytest.raises(splinelens.errors.BadTexts, match="allow_training_rows=True"):
        splinelens.evaluate(trained.detector, TEXTS, WORDS)


def test_rows_that_may_be_of_the_training_are_a_warning_of_the_log(trained, caplog):
    unrecorded = replace(trained.artifact, seen=np.zeros(0, dtype=np.uint64))
    detector = replace(trained.detector, artifact=unrecorded)
    with caplog.at_level(logging.WARNING, logger="splinelens"):
        splinelens.evaluate(detector, TEXTS, WORDS, resamples=0)
    assert "does not record its training texts" in caplog.text


def test_a_seed_that_no_generator_takes_is_refused_before_a_model_is_loaded():
    for seed in (-1, 2**32):
        with pytest.raises(splinelens.errors.BadFeatures, match=f"seed {seed} is not a whole number"):
            splinelens.train(TEXTS, WORDS, "owner/that-is-nowhere", seed=seed)


def test_a_damaged_spec_or_fingerprint_is_a_broken_artifact(trained, tmp_path):
    artifact = trained.artifact
    damaged = {
        "spec": replace(artifact, spec={**artifact.spec, "eps": 7}),
        "window": replace(artifact, spec={**artifact.spec, "long": "all"}),
        "fingerprint": replace(artifact, model={**artifact.model, "fingerprint": {"depth": "two"}}),
    }
    for name, broken in damaged.items():
        broken.save(tmp_path / name)
        with pytest.raises(splinelens.errors.BrokenArtifact, match="is damaged"):
            splinelens.Detector.load(tmp_path / name)


def test_texts_over_a_limit_are_left_out_of_features_and_training(tiny_folder):
    texts = [*TEXTS, "the tea is fine " * 30]
    options = {"layers": [0], "device": "cpu", "max_text_tokens": 60}
    trained = splinelens.train(texts, [*WORDS, "clean"], tiny_folder, suffix=" a", eps=0.2, **options)
    assert trained.artifact.training["left_out"] == 1
    assert trained.artifact.spec["suffix"] == " a"
    geometry = splinelens.GeometryFeatures(str(tiny_folder), unreadable="nan", **options)
    assert np.isnan(geometry.transform(texts)).all(axis=1).tolist() == [False] * 40 + [True]


def test_a_detector_says_where_to_give_a_model_that_has_moved(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny_folder.parent)
    trained = splinelens.train(TEXTS, WORDS, "tiny", layers=[0], device="cpu")
    assert trained.artifact.model["name"] == str(tiny_folder)
    trained.detector.save(tmp_path / "mine")
    tiny_folder.rename(tmp_path / "moved")
    with pytest.raises(splinelens.errors.UnknownModel, match=r"which is not there; .*--model FOLDER"):
        splinelens.Detector.load(tmp_path / "mine")
    moved = splinelens.Detector.load(tmp_path / "mine", model=tmp_path / "moved", device="cpu")
    assert moved.score(["the tea is fine"])[0].score is not None


def test_a_detector_reads_in_another_number_type_if_asked(trained, tiny_folder, tmp_path):
    trained.detector.save(tmp_path / "mine")
    half = splinelens.Detector.load(tmp_path / "mine", model=tiny_folder, device="cpu", dtype="bfloat16")
    assert half.predict_proba(TEXTS[:4]) == pytest.approx(trained.detector.predict_proba(TEXTS[:4]), abs=0.2)
    same = splinelens.Detector.load(tmp_path / "mine", model=tiny_folder, device="cpu", dtype="float32")
    assert same.predict_proba(TEXTS[:4]) == pytest.approx(trained.detector.predict_proba(TEXTS[:4]))
    with pytest.raises(splinelens.errors.BadModel, match=r"belongs to Detector\.load: the detector"):
        splinelens.evaluate(half, TEXTS, WORDS, batch_tokens=64)
    with pytest.raises(splinelens.errors.BadModel, match="dtype='bfloat16' belongs to load_model"):
        splinelens.Detector.load(tmp_path / "mine", model=half.reader.loaded, dtype="bfloat16")


def test_what_one_prints_is_one_line(trained, tiny_folder):
    detector, loaded = trained.detector, splinelens.load_model(tiny_folder, device="cpu")
    detail = splinelens.look("the tea is fine", loaded, layer=1, token=-1)
    report = splinelens.read_tokens("the tea is fine", loaded)
    table = splinelens.extract(["the tea is fine"], loaded)
    places = [detail, detail.hull, detail.hull.heads[0], detail.map, detail.crossing, report]
    inspection = splinelens.inspect("the tea is fine", loaded)
    cut = splinelens.slice_texts(TEXTS[:3], loaded, layer=0)
    places += [inspection, cut]
    for shown in [detector, detector.artifact, trained, loaded, table, *places]:
        assert "\n" not in repr(shown)
        assert len(repr(shown)) < 300
    assert repr(detector).startswith("Detector('detector', binary: toxic or clean")
    assert "3 of 3 blocks" in repr(loaded)


def test_a_token_is_counted_from_the_end_too(tiny_folder):
    loaded = splinelens.load_model(tiny_folder, device="cpu")
    last = splinelens.look("the tea is fine", loaded, layer=1, token=-1)
    assert last.token == len(splinelens.read_tokens("the tea is fine", loaded).spans) - 1
    with pytest.raises(splinelens.errors.BadFeatures, match="token -99 does not exist"):
        splinelens.look("the tea is fine", loaded, layer=1, token=-99)


def test_windows_default_to_what_fits_the_model(tiny_llama, tiny_tokenizer, tmp_path):
    tiny_llama.config.max_position_embeddings = 128
    tiny_llama.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    table = splinelens.extract(["the tea is fine " * 40], tmp_path, prompt="a b", device="cpu")
    assert 100 < table.provenance["spec"]["max_tokens"] < 128
    geometry = splinelens.GeometryFeatures(str(tmp_path), device="cpu", eps=0.2, suffix=" a", dtype="float64")
    assert np.isfinite(geometry.transform(["the tea is fine " * 40])).all()
    with pytest.raises(splinelens.errors.BadFeatures, match="lower max_tokens"):
        splinelens.extract(["the tea is fine"], tmp_path, max_tokens=512, device="cpu")


def test_features_are_a_data_frame(tiny_folder):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["the tea is fine", None], "id": [7, 8]}, index=["a", "b"])
    table = splinelens.extract(frame["text"], tiny_folder, features=["length", "margins"], layers=[1])
    named = replace(table, kept=pyarrow.table({"author": ["x", "y"]}))
    assert named.to_pandas()["author"].tolist() == ["x", "y"]
    joined = frame.join(table.to_pandas(frame.index))
    assert joined.loc["a", "layer01.margin_max[3]"] == table.column("layer01.margin_max")[0, 3]
    assert joined["reason"].notna().tolist() == [False, True]
    assert np.isnan(joined.loc["b", "layer01.margin_max[3]"])


@pytest.mark.parametrize("kind", ["list", "array", "pandas", "polars"])
def test_a_column_of_any_kind_is_texts(trained, kind):
    polars, pandas = pytest.importorskip("polars"), pytest.importorskip("pandas")
    make = {"list": list, "array": np.array, "pandas": pandas.Series, "polars": polars.Series}[kind]
    scores = trained.detector.predict_proba(make(TEXTS[:3]))
    assert scores == pytest.approx(trained.detector.predict_proba(TEXTS[:3]))


def test_a_pipeline_is_cross_validated_searched_and_gives_data_frames(tiny_folder):
    pandas = pytest.importorskip("pandas")
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV, cross_val_score

    options = {"model": str(tiny_folder), "layers": [0, 1], "device": "cpu", "batch_tokens": 256}
    pipeline = splinelens.make_detector_pipeline(**options)
    assert clone(pipeline).get_params()["geometry__batch_tokens"] == 256
    assert cross_val_score(pipeline, np.array(TEXTS), WORDS, cv=3).mean() > 0.8
    grid = {"geometry__pooling": ["max", ["max", "min"]], "head__C": [1e-3, 1e-2]}
    assert GridSearchCV(pipeline, grid, cv=2).fit(pandas.Series(TEXTS), WORDS).best_score_ > 0.8
    geometry = splinelens.GeometryFeatures(**options).set_output(transform="pandas")
    frame = geometry.fit_transform(pandas.Series(TEXTS[:2], index=[5, 6]))
    assert frame.index.tolist() == [5, 6]
    assert frame.columns[0] == "layer00.sign_mean"
    assert len(geometry.fit_transform(TEXTS[:2])) == 2


KEYWORDS = {
    "features": {"spline7", "margins"},  # of train margins, which it can explain
    "layers": {None},
    "pooling": {"max"},
    "prompt": {""},
    "suffix": {""},
    "max_tokens": {None, 2048},  # read_tokens, look and inspect refuse longer texts
    "max_text_tokens": {None},
    "long": {"windows"},
    "eps": {0.1},
    "normalize": {False},
    "revision": {None},
    "device": {None},
    "dtype": {None},
    "batch_tokens": {None},
    "trust_remote_code": {False},
    "output": {None},
    "overwrite": {False},
    "progress": {None},
}
"""The order and the defaults of what several public functions take."""

READING = {
    "features",
    "layers",
    "pooling",
    "prompt",
    "suffix",
    "max_tokens",
    "max_text_tokens",
    "long",
    "eps",
}
LOADING = {"revision", "device", "dtype"}
PUBLIC = {
    "load_model": LOADING,
    "extract": READING | LOADING | {"normalize", "batch_tokens", "output", "overwrite", "progress"},
    "train": READING | LOADING | {"normalize", "batch_tokens", "output", "overwrite", "progress"},
    "GeometryFeatures": READING | LOADING | {"normalize", "batch_tokens"},
    "Stream": {"features", "layers", "pooling", "prompt", "eps"} | LOADING,
    "Detector.load": {"max_tokens", "max_text_tokens", "long", "device", "dtype", "batch_tokens"},
    "evaluate": {"max_tokens", "max_text_tokens", "long", "device", "dtype", "batch_tokens", "progress"},
    "read_tokens": {"layers", "prompt", "max_tokens", "eps"} | LOADING,
    "look": {"prompt", "max_tokens", "eps"} | LOADING,
    "inspect": {"layers", "prompt", "max_tokens", "eps"} | LOADING,
    "slice_texts": {"prompt", "max_tokens"} | LOADING,
    "Detector.score": {"progress"},
    "Detector.write_scores": {"overwrite", "progress"},
    "Detector.predict": {"progress"},
    "Detector.predict_proba": {"progress"},
    "Detector.save": {"overwrite"},
}


@pytest.mark.parametrize("name", PUBLIC)
def test_keywords_have_one_order_and_the_same_defaults_everywhere(name):
    function = functools.reduce(getattr, name.split("."), splinelens)
    parameters = {
        keyword: parameter
        for keyword, parameter in inspect.signature(function).parameters.items()
        if keyword in KEYWORDS and parameter.default is not inspect.Parameter.empty
    }
    assert set(parameters) >= PUBLIC[name]
    assert [*parameters] == sorted(parameters, key=[*KEYWORDS].index)
    for keyword, parameter in parameters.items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default in KEYWORDS[keyword], keyword
