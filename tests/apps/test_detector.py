"""Tests ``apps/detector.py``: scores, verdicts, exact explanations, refusals."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pyarrow.parquet
import pytest

from splinelens.apps.detector import Detector
from splinelens.apps.training import fit_detector
from splinelens.detect.shipped import find_artifact, shipped
from splinelens.errors import (
    BadDetector,
    BadFeatures,
    BadLabels,
    BadTexts,
    BrokenArtifact,
    CannotResume,
    CannotWrite,
    NotExplainable,
    OutputExists,
    UnknownDetector,
    UnknownModel,
    WrongModel,
)
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.geometry.directions import Directions
from splinelens.models import load_model
from splinelens.report.card import card
from splinelens.report.scores import SentenceScore
from splinelens.texts import read_texts
from splinelens.texts.sentences import sentence_bounds

from .conftest import labeled

MIXED = ["you are good", "", "what a rude thing you said there, and then once more all of it again", "x"]


@pytest.fixture
def detector(fit_on, loaded, tmp_path):
    fit_on().save(tmp_path / "tiny-detector")
    return Detector.load(tmp_path / "tiny-detector", model=loaded)


def test_scores_come_in_order_with_verdicts(detector):
    records = detector.score(MIXED)
    assert [record.row for record in records] == [0, 1, 2, 3]
    assert records[1].verdict == "undetermined"
    assert records[1].score is None
    assert records[1].reason == "is empty"
    for record in (records[0], records[2], records[3]):
        assert 0 <= record.score <= 1
        assert record.verdict == ("toxic" if record.score >= detector.threshold() else "clean")


@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize(
    ("weight", "scale", "slope"), [(3e38, 1e-300, 1.0), (3e38, 1e-262, 1e14)], ids=["logit", "calibrated"]
)
def test_a_score_that_is_not_finite_is_never_clean(
    fit_on, loaded, tmp_path, capsys, weight, scale, slope, explain
):
    artifact = fit_on()
    head = replace(
        artifact.head,
        weight=np.full_like(artifact.head.weight, weight),
        scale=np.full(artifact.head.width, scale),
    )
    calibrations = (replace(artifact.calibrations[0], slope=slope),)
    replace(artifact, head=head, calibrations=calibrations).save(tmp_path / "d")
    detector = Detector.load(tmp_path / "d", model=loaded)
    for record in detector.score(["you are good", "a"], explain=explain):
        assert (record.score, record.verdict) == (None, "undetermined")
        assert record.reason == "gives a score that is not a finite number"
        assert record.spans is None
    texts, labels = labeled()
    with pytest.raises(BadLabels, match="0 scored rows"):
        detector.evaluate(texts, labels)


@pytest.mark.parametrize("pooling", [("max",), ("min",), ("last",), ("max", "min", "last")])
def test_parts_add_up_to_the_logit_also_across_windows(fit_on, loaded, tmp_path, pooling):
    fit_on(pooling=pooling).save(tmp_path / "d")
    detector = Detector.load(tmp_path / "d", model=loaded, max_tokens=8)
    text = "a rude thing that goes on and on over many windows, äöü 😀 and ends here"
    [record] = detector.score([text], explain=True)
    assert record.tokens > 16
    logit = np.log(record.score / (1 - record.score))
    assert record.constant + sum(span.contribution for span in record.spans) == pytest.approx(logit, abs=1e-4)
    ends = [0, *(span.end for span in record.spans)]
    assert all(span.begin >= end for span, end in zip(record.spans, ends, strict=False))
    assert record.spans[-1].end == len(text)


def test_parts_add_up_on_layers_of_experts_that_no_token_visits(tiny_of, tiny_tokenizer, tmp_path):
    folder = tmp_path / "mixtral"
    tiny_of("mixtral").save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    loaded = load_model(str(folder), device="cpu")
    reader = TextReader(loaded, FeatureSpec(features=("margins",), max_tokens=24))
    texts, labels = labeled()
    words = {"name": "routed", "label": "toxic", "negative": "clean", "strengths": (1.0,)}
    fitted = fit_detector(texts, labels, reader, **words).artifact
    fitted.save(tmp_path / "d")
    detector = Detector.load(tmp_path / "d", model=loaded)
    (features,) = detector.reader.read(["a"], locate=True)
    assert (features.source < 0).any()
    [record] = detector.score(["a"], explain=True)
    logit = np.log(record.score / (1 - record.score))
    assert record.constant + sum(span.contribution for span in record.spans) == pytest.approx(logit, abs=1e-4)


@pytest.mark.parametrize(
    "spec",
    [
        {"features": ("directions",), "pooling": ("max", "min", "mean", "last")},
        {"features": ("directions",), "pooling": ("mean",)},
        {"features": ("direction_mean", "margin_max", "direction_max")},
    ],
    ids=["all", "mean", "beside margins"],
)
def test_learned_directions_come_back_from_disk_and_split_into_tokens(
    fit_on, loaded, tmp_path, directions, spec
):
    fitted = fit_on(directions=directions, **spec)
    assert fitted.training["provenance"]["directions"] == directions.digest
    fitted.save(tmp_path / "d")
    text = "a rude thing that goes on and on over many windows, äöü 😀 and ends here"
    short, long = (Detector.load(tmp_path / "d", model=loaded, max_tokens=window) for window in (64, 8))
    assert short.artifact.directions.digest == directions.digest
    assert short.artifact.digest == fitted.digest
    for detector in (short, long):
        (features,) = detector.reader.read([text])
        exact = fitted.calibrations[0].logit(fitted.head.logit(features.values[None])[0])[0]
        [record] = detector.score([text], explain=True)
        total = record.constant + sum(span.contribution for span in record.spans)
        assert total == pytest.approx(exact, abs=1e-6)
        assert 1 / (1 + np.exp(-exact)) == pytest.approx(record.score, abs=1e-9)
        assert np.std([span.contribution for span in record.spans]) > 0


def test_each_token_adds_its_share_of_a_mean(fit_on, loaded, tmp_path, directions):
    fit_on(directions=directions, features=("directions",), pooling=("mean",)).save(tmp_path / "d")
    detector = Detector.load(tmp_path / "d", model=loaded)
    head, slope = detector.artifact.head, detector.artifact.calibrations[0].slope
    [record] = detector.score(["you rude toad"], explain=True)
    [features] = detector.reader.read(["you rude toad"], locate=True)
    expected = slope * (features.learned - head.mean) @ (head.weight[0] / head.scale) / features.tokens
    assert [span.contribution for span in record.spans] == pytest.approx(expected.tolist(), abs=1e-6)


def test_directions_of_another_width_are_refused(fit_on, loaded, tmp_path, directions):
    fitted = fit_on(directions=directions, features=("directions",))
    narrow = Directions(directions.weight[..., :31], directions.bias)
    replace(fitted, directions=narrow).save(tmp_path / "d")
    with pytest.raises(BadFeatures, match="of width 31 do not fit the 2 layers of width 32"):
        Detector.load(tmp_path / "d", model=loaded)


def test_words_and_sentences_add_up_to_the_same_as_the_tokens(detector):
    text = "you are good. what a rude, rude thing!\r\nx\u200by 😀 e\u0301"
    for record in detector.score([text, "x", "", text * 9], explain=True):
        if record.score is None:
            assert record.words is record.sentences is None
            continue
        total = sum(span.contribution for span in record.spans)
        for parts in (record.words, record.sentences):
            assert sum(part.contribution for part in parts) == pytest.approx(total, abs=1e-9)
    [record] = detector.score([text], explain=True)
    assert [text[word.begin : word.end] for word in record.words] == text.split()
    assert [text[part.begin :][:3] for part in record.sentences] == ["you", "wha", "x\u200by"]


def test_each_part_is_what_its_tokens_maxima_add(detector):
    text = "you rude toad"
    [record] = detector.score([text], explain=True)
    [features] = detector.reader.read([text], locate=True)
    head, slope = detector.artifact.head, detector.artifact.calibrations[0].slope
    for index, span in enumerate(record.spans):
        mine = features.source == index
        expected = slope * np.sum((features.values - head.mean)[mine] * (head.weight[0] / head.scale)[mine])
        assert span.contribution == pytest.approx(expected, abs=1e-6)


def test_a_text_scores_the_same_alone_and_in_company(detector):
    texts, _ = labeled()
    together = [record.score for record in detector.score(texts)]
    alone = [detector.score([text])[0].score for text in texts]
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_explaining_changes_no_score(detector):
    plain, explained = detector.score(MIXED), detector.score(MIXED, explain=True)
    assert [record.score for record in plain] == [record.score for record in explained]


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of eight texts, which are written one after the other."""
    monkeypatch.setattr("splinelens.features.reader.CHUNK", 8)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("explain", [False, True])
def test_scores_written_after_a_kill_are_those_of_one_run(detector, tmp_path, small_chunks, ending, explain):
    texts = ["", *labeled()[0], None]
    whole, output, read = tmp_path / f"whole.{ending}", tmp_path / f"out.{ending}", []
    detector.write_scores(texts, whole, explain=explain)

    def kill(count, _characters):
        read.append(count)
        if len(read) == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        detector.write_scores(texts, output, explain=explain, progress=kill)
    assert not output.exists()
    with pytest.raises(CannotResume, match=r"threshold was .* and is 0.5"):
        detector.write_scores(texts, output, explain=explain, threshold=0.5)
    again, observed = [], []
    detector.write_scores(
        texts,
        output,
        explain=explain,
        progress=lambda count, _characters: again.append(count),
        observe=observed.append,
    )
    assert again[0] == 16  # two chunks were kept
    assert sum(again) == len(texts)  # so that a progress bar ends at its end
    assert output.read_bytes() == whole.read_bytes()
    assert observed == detector.score(texts, explain=explain)
    assert {path.name for path in tmp_path.glob("*.*")} == {whole.name, output.name}


@pytest.mark.parametrize("by", ["text", "sentence"])
def test_texts_that_failed_are_scored_again_on_demand(detector, tmp_path, by):
    source, texts = tmp_path / "texts.csv", ["you fool", "", "~ you. What a thing.", "so good ~", "the sea"]
    source.write_text("\n".join(["id,text", *(f"{row},{text}" for row, text in enumerate(texts))]))
    source, output, whole = read_texts(source, keep=["id"]), tmp_path / "a.parquet", tmp_path / "b.parquet"
    options = {"by": by, "keep": ["id"], "explain": True}
    detector.write_scores(source, whole, **options)
    model, failing = detector.reader.loaded.model, [True]
    tilde = detector.reader.loaded.tokenizer("~").input_ids[0]

    def fail(module, arguments):
        if failing and (arguments[0] == tilde).any():
            raise MemoryError

    model.register_forward_pre_hook(fail)
    detector.write_scores(source, output, **options)
    before = pyarrow.parquet.read_table(output)
    assert before["reason"].to_pylist()[2:4] == ["does not fit into memory"] * 2
    failing.clear()
    scored = []
    detector.write_scores(source, output, **options, retry_failed=True, observe=scored.append)
    assert [record.row for record in scored] == [2, 3]
    after = pyarrow.parquet.read_table(output)
    assert after.equals(pyarrow.parquet.read_table(whole), check_metadata=True)
    with pytest.raises(CannotResume, match="holds rows of another run: threshold was"):
        detector.write_scores(source, output, **options, threshold=0.1, retry_failed=True)
    (tmp_path / "a.csv").write_text("row\n")
    with pytest.raises(CannotResume, match="does not hold the settings of its rows, as Parquet does"):
        detector.write_scores(source, tmp_path / "a.csv", **options, retry_failed=True)


def test_scores_are_not_written_over_a_file_or_the_input(detector, tmp_path):
    output = tmp_path / "a.csv"
    output.write_text("text\nyou fool\n")
    with pytest.raises(OutputExists, match="it exists"):
        detector.write_scores(["you fool"], output)
    with pytest.raises(OutputExists, match="it is the input"):
        detector.write_scores(read_texts(output), output, overwrite=True)
    detector.write_scores(["you fool"], output, overwrite=True)
    assert output.read_text().startswith('"row"')


def test_a_path_is_a_folder_even_if_a_shipped_detector_has_its_name(detector, tmp_path, monkeypatch):
    detector.artifact.save(tmp_path / "toxicity")
    monkeypatch.chdir(tmp_path)
    assert find_artifact("./toxicity").name == find_artifact(Path("toxicity")).name == "tiny"
    assert find_artifact("toxicity").name == "toxicity"


def test_scores_can_start_at_any_row(detector):
    texts, _ = labeled()
    rest = list(detector.scores(texts, start=37))
    assert [record.row for record in rest] == [37, 38, 39]
    assert rest == detector.score(texts)[37:]


def test_a_cut_text_that_looks_clean_is_undetermined(detector, tmp_path):
    text = "you are good " * 10
    cut = Detector.load(tmp_path / "tiny-detector", model=detector.reader.loaded, max_tokens=8, long="cut")
    [record] = cut.score([text], threshold=1.0)
    assert record.cut
    assert record.verdict == "undetermined"
    assert record.score is not None
    assert "was cut at 8 of" in record.reason
    assert cut.score([text], threshold=0.0)[0].verdict == "toxic"
    assert not detector.score([text])[0].cut


def test_values_that_are_not_finite_are_undetermined(fit_on, tmp_path, tiny_folder):
    fit_on().save(tmp_path / "d")
    own = load_model(str(tiny_folder), n_layers=2, device="cpu")
    detector = Detector.load(tmp_path / "d", model=own)
    own.model.layers[1].mlp.gate_proj.weight.data[:, 0] = np.inf
    [record] = detector.score(["you are good"])
    assert record.verdict == "undetermined"
    assert "not finite" in record.reason


def test_thresholds_are_those_stored(detector):
    assert detector.threshold(0.01) >= detector.threshold(0.05)
    with pytest.raises(BadDetector, match=r"false-positive rates 0\.001, 0\.01, 0\.05, not 0\.2"):
        detector.threshold(0.2)


def test_evaluation_counts_what_could_not_be_scored(detector):
    texts, labels = labeled(60)
    found = detector.evaluate(["", *texts], np.array([1, *labels]), resamples=50)
    assert (found.n, found.undetermined) == (60, 1)
    assert found.auc > 0.9
    assert set(found.at_threshold) == {"0.001", "0.01", "0.05"}


def test_a_detector_refuses_another_model(fit_on, tmp_path, tiny_gpt2, tiny_tokenizer):
    fit_on().save(tmp_path / "d")
    tiny_gpt2.save_pretrained(tmp_path / "gpt2")
    tiny_tokenizer.save_pretrained(tmp_path / "gpt2")
    with pytest.raises(WrongModel, match="the architecture differs: llama here, gpt2 in the other"):
        Detector.load(tmp_path / "d", model=str(tmp_path / "gpt2"))


def test_a_detector_refuses_changed_weights_and_too_few_blocks(fit_on, tmp_path, tiny_folder):
    fit_on().save(tmp_path / "d")
    changed = load_model(str(tiny_folder), n_layers=2, device="cpu")
    changed.model.layers[1].mlp.gate_proj.weight.data[0, 0] += 1
    with pytest.raises(WrongModel, match="the weights differ"):
        Detector.load(tmp_path / "d", model=changed)
    with pytest.raises(WrongModel, match=r"reads 2 blocks; of .* 1 are loaded: load_model"):
        Detector.load(tmp_path / "d", model=load_model(str(tiny_folder), n_layers=1, device="cpu"))


def test_a_deeper_model_of_the_same_weights_serves(fit_on, tmp_path, tiny_folder, detector):
    deep = load_model(str(tiny_folder), device="cpu")
    assert deep.depth == 3
    texts, _ = labeled()
    scores = [record.score for record in Detector.load(tmp_path / "tiny-detector", model=deep).score(texts)]
    assert scores == pytest.approx([record.score for record in detector.score(texts)], rel=1e-5)


def test_another_catalogue_version_is_refused(fit_on, tmp_path, loaded):
    artifact = fit_on()
    replace(artifact, spec={**artifact.spec, "version": 0}).save(tmp_path / "old")
    with pytest.raises(WrongModel, match="version 0 of the feature catalogue"):
        Detector.load(tmp_path / "old", model=loaded)


@pytest.mark.parametrize("spec", [{"features": ("spline7",)}, {"pooling": ("mean",)}])
def test_what_does_not_split_is_not_explained(fit_on, tmp_path, loaded, spec):
    fit_on(**spec).save(tmp_path / "d")
    detector = Detector.load(tmp_path / "d", model=loaded)
    assert detector.artifact.inseparable
    with pytest.raises(NotExplainable, match="only max, min and last margins come from one token"):
        detector.score(["you"], explain=True)


def test_what_is_no_name_of_a_detector_is_refused():
    with pytest.raises(
        UnknownDetector, match="a name or a folder, and this is a NoneType; give one of these"
    ):
        find_artifact(None)


@pytest.mark.parametrize(
    "name", ["", "x" * 300, "a\0b", "~nosuchuser/mine"], ids=["empty", "long", "NUL", "~"]
)
def test_a_name_that_no_folder_can_have_is_no_detector(name):
    with pytest.raises(UnknownDetector, match="no detector and no folder"):
        find_artifact(name)


def test_a_file_of_a_detector_is_refused_with_its_folder(tmp_path):
    (tmp_path / "detector.json").write_text("{}")
    with pytest.raises(UnknownDetector, match="a detector is a folder: give"):
        find_artifact(tmp_path / "detector.json")


def test_unknown_names_get_near_ones():
    with pytest.raises(UnknownDetector, match="no folder 'toxicty'; did you mean toxicity"):
        find_artifact("toxicty")
    with pytest.raises(
        UnknownDetector, match="shipped are domain, replies, toxicity, toxicity-fast, truth, types"
    ):
        find_artifact("zzz")


def test_shipped_detectors_are_whole_small_and_have_cards():
    assert set(shipped()) == {"domain", "replies", "toxicity", "toxicity-fast", "truth", "types"}
    for name, folder in shipped().items():
        artifact = find_artifact(name)
        assert artifact.name == name
        assert sum(file.stat().st_size for file in folder.iterdir()) < 4_000_000
        assert "Length alone is what counting tokens would reach." in (folder / "CARD.md").read_text("utf-8")
        assert card(artifact) == (folder / "CARD.md").read_text("utf-8")
        made_by = f"--only {name} --dtype {artifact.features_dtype}"
        assert artifact.command.endswith("--ship" if name == "truth" else made_by)
        assert {0.001, 0.01, 0.05} == {threshold.target for threshold in artifact.thresholds[0]}
        depth = artifact.model["fingerprint"]["depth"]
        assert depth <= (6 if name == "toxicity-fast" else 30)


def test_a_cut_artifact_is_refused(fit_on, tmp_path):
    fit_on().save(tmp_path / "d")
    file = tmp_path / "d" / "detector.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(BrokenArtifact, match=r"detector\.safetensors"):
        Detector.load(tmp_path / "d")


@pytest.mark.parametrize("name", ["toxicity", "toxicity-fast"])
def test_the_shipped_detectors_work_on_the_default_model(name, default_model):
    detector = Detector.load(name, device="cpu")
    kind, rude, empty = detector.score(["Have a nice day.", "You are an idiot and nobody likes you.", ""])
    assert (kind.verdict, rude.verdict, empty.verdict) == ("clean", "toxic", "undetermined")
    assert kind.score < 0.1
    assert rude.score > 0.99
    [explained] = detector.score(["You are an idiot and nobody likes you."], explain=True)
    strongest = max(explained.words, key=lambda span: span.contribution)
    logit = np.log(explained.score / (1 - explained.score))
    total = explained.constant + sum(span.contribution for span in explained.spans)
    assert total == pytest.approx(logit, abs=1e-4)
    assert (strongest.begin, strongest.end) == (len("You are an "), len("You are an idiot"))


def test_shipped_detectors_reach_their_numbers_on_a_sample_of_test_rows(data_dir, default_model):
    import csv

    path = data_dir / "jigsaw-test-binary-12k" / "jigsaw_test_balanced.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = [
            row for row in csv.DictReader(file) if row["split"] == "test" and len(row["comment_text"]) < 300
        ]
    rows = rows[::16]
    detector = Detector.load("toxicity-fast", device="cpu")
    labels = np.array([int(row["toxic"]) for row in rows])
    found = detector.evaluate([row["comment_text"] for row in rows], labels, resamples=200)
    assert found.auc > 0.93  # the whole test split gives 0.9640, with rows of every length


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (pandas.DataFrame({"id": [1], "text": ["a"]}), r"the columns 'id', 'text'; give one: df\[\"text\"\]"),
        ({"a": 1}, r"texts is a dict with the columns 'a'; give one"),
        ({"a", "b"}, "texts is a set, which has no order; give a list"),
        (b"you", "texts is bytes; give a list"),
        (None, "texts is a NoneType; give a list"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_list_of_texts_is_refused(detector, texts, words):
    for use in (detector.score, lambda texts: detector.evaluate(texts, np.array([1]))):
        with pytest.raises(BadTexts, match=words):
            use(texts)


def test_a_column_of_a_frame_is_scored_row_by_row_and_what_is_missing_has_no_score(detector):
    frame = pandas.DataFrame({"text": ["you are good", None, float("nan"), "rude"]}, index=[9, 8, 7, 6])
    records = detector.score(frame["text"])
    assert [record.row for record in records] == [0, 1, 2, 3]
    assert [record.reason for record in records] == [None, "is missing", "is missing", None]
    assert records[1].verdict == "undetermined"
    assert records == detector.score(["you are good", None, None, "rude"])


def test_one_string_and_labels_that_do_not_fit_are_refused_before_any_work(detector):
    with pytest.raises(BadTexts, match="texts is one string; give a list"):
        detector.score("you are good")
    for labels in ([1, 0], [[1, 0, 1]], [0, 1, 2]):
        with pytest.raises(BadLabels, match="3 texts need as many labels, each 0 or 1"):
            detector.evaluate(["a", "b", "c"], labels)
    with pytest.raises(BadLabels, match=r"splinelens\.evaluate reads words"):
        detector.evaluate(["a", "b"], ["toxic", "clean"])
    with pytest.raises(BadDetector, match=r"threshold 7 is no score"):
        detector.score(["a"], threshold=7)


@pytest.mark.parametrize("value", ["0.5", [0.5, 0.6]], ids=["a string", "a list"])
def test_a_rate_or_threshold_that_is_no_number_is_refused(detector, value):
    with pytest.raises(BadDetector, match=r"threshold .* is no score; give one from 0 to 1"):
        detector.predict(["a"], threshold=value)
    for fpr in (value, None):
        with pytest.raises(BadDetector, match=r"is no number; .* has thresholds for 0\.001, 0\.01, 0\.05"):
            detector.predict(["a"], fpr=fpr)


def test_a_detector_is_saved_to_the_home_folder_and_loaded_from_there(
    detector, loaded, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    detector.save("~/mine")
    assert (tmp_path / "mine" / "detector.json").is_file()
    assert Detector.load("~/mine", model=loaded).artifact.name == "tiny"
    with pytest.raises(CannotWrite, match="name a folder"):
        detector.save("")


def test_plain_lists_of_labels_will_do(detector):
    texts, labels = labeled(60)
    assert detector.evaluate(texts, labels.tolist(), resamples=0).n == 60


def test_a_model_that_is_too_shallow_is_another_model(fit_on, tmp_path, tiny_llama, tiny_tokenizer):
    fit_on().save(tmp_path / "d")
    tiny_llama.config.num_hidden_layers = 1
    tiny_llama.save_pretrained(tmp_path / "shallow")
    tiny_tokenizer.save_pretrained(tmp_path / "shallow")
    with pytest.raises(WrongModel, match=r"needs 2 blocks of .*: cannot load 2 blocks: .* has 1"):
        Detector.load(tmp_path / "d", model=str(tmp_path / "shallow"))
    with pytest.raises(UnknownModel):
        Detector.load(tmp_path / "d", model="no-such-model")


def test_a_file_that_appears_during_a_run_is_kept_and_so_are_the_scores(detector, tmp_path):
    output = tmp_path / "a.csv"
    with pytest.raises(OutputExists, match=r"a\.csv: a file has appeared there since the run began; move it"):
        detector.write_scores(["you fool"], output, observe=lambda _: output.write_text("mine"))
    assert output.read_text() == "mine"
    output.unlink()
    read = []
    detector.write_scores(["you fool"], output, progress=lambda count, _: read.append(count))
    assert read == [1]
    assert [path.name for path in tmp_path.glob("*a.csv*")] == ["a.csv"]


def test_a_prevalence_multiplies_the_odds_and_keeps_verdicts_and_explanations(detector, tmp_path):
    assert detector.artifact.shares == (0.5,)
    plain, moved = (detector.score(MIXED, explain=True, prevalence=share) for share in (None, 0.02))
    for before, after in zip(plain, moved, strict=True):
        assert after.verdict == before.verdict
        if before.score is None:
            assert after.score is None
            continue
        odds = [score / (1 - score) for score in (before.score, after.score)]
        assert odds[1] / odds[0] == pytest.approx(0.02 / 0.98, rel=1e-9)
        total = after.constant + sum(span.contribution for span in after.spans)
        assert total == pytest.approx(np.log(odds[1]), abs=1e-4)
        assert after.spans == before.spans
    assert detector.predict_proba(MIXED, prevalence=0.02)[:, 1].tolist() == pytest.approx(
        [np.nan if record.score is None else record.score for record in moved], nan_ok=True
    )
    assert detector.predict(MIXED, prevalence=0.02).tolist() == detector.predict(MIXED).tolist()
    assert detector.score(MIXED[:1], threshold=1e-9, prevalence=0.02)[0].verdict == "toxic"
    output = tmp_path / "scores.parquet"
    detector.write_scores(MIXED, output, prevalence=0.02)
    table = pyarrow.parquet.read_table(output)
    assert table["score"].to_pylist() == [record.score for record in moved]
    assert json.loads(table.schema.metadata[b"splinelens"])["prevalence"] == 0.02
    for share in (0, 1, True, "0.5", [0.5]):
        with pytest.raises(BadDetector, match=r"prevalence .* is no share; give one between"):
            detector.score(MIXED, prevalence=share)
    for share in (1e-12, 1 - 1e-12):
        with pytest.raises(BadDetector, match="too near to 0 or 1; give at least 1e-9"):
            detector.score(MIXED, prevalence=share)


def test_an_evaluation_at_a_prevalence_keeps_ranks_and_rates(detector):
    texts, labels = labeled(60)
    plain, moved = (
        detector.evaluate(texts, labels, resamples=50, prevalence=share) for share in (None, 0.02)
    )
    assert (moved.auc, moved.recall_at_fpr) == (plain.auc, plain.recall_at_fpr)
    for target, measured in plain.at_threshold.items():
        assert moved.at_threshold[target]["recall"] == measured["recall"]
        assert moved.at_threshold[target]["false_positive_rate"] == measured["false_positive_rate"]
        assert moved.at_threshold[target]["score"] < measured["score"]
    assert moved.brier < 0.05  # always saying 2 % gives .0196, and rows of which half are toxic over .4


SENTENCES = "You are good.  What a nice thing!\nWhat a rude thing you rude toad. Thanks to you all"


def test_the_highest_sentence_is_that_of_sentences_scored_as_texts(detector):
    (record,) = detector.score([SENTENCES], by="sentence")
    (whole,) = detector.score([SENTENCES])
    parts = [SENTENCES[begin:end] for begin, end in sentence_bounds(SENTENCES)]
    assert len(parts) == 4
    scores = [one.score for one in detector.score(parts)]
    found = record.highest_sentence
    assert SENTENCES[found.begin : found.end] == parts[int(np.argmax(scores))] == parts[2]
    assert found.score == pytest.approx(max(scores), rel=1e-5)
    assert (found.limit,) == detector.artifact.sentence_limits(4)[1]
    assert (record.score, record.tokens) == (whole.score, whole.tokens)


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_a_text_is_flagged_by_itself_or_by_a_sentence(detector, threshold):
    texts = [
        SENTENCES,
        "You are good. We are at the sea. " * 4,
        "what a rude thing",
        "",
        "\u200b\u200b. You. Rude.",
    ]
    records = detector.score(texts, by="sentence", threshold=threshold)
    for text, record in zip(texts, records, strict=True):
        if record.score is None:
            assert (record.verdict, record.highest_sentence) == ("undetermined", None)
            continue
        whole, each = detector.artifact.sentence_limits(len(sentence_bounds(text)), 0.05, threshold)
        assert record.highest_sentence.limit == each[0]
        flagged = record.score >= whole[0] or record.highest_sentence.score >= each[0]
        assert record.verdict == ("toxic" if flagged else "clean")
    assert records[3].reason == "is empty"
    single = detector.score(["what a rude thing"], threshold=threshold)[0]
    assert (records[2].score, records[2].verdict) == (single.score, single.verdict)
    limit = detector.threshold() if threshold is None else threshold
    assert records[2].highest_sentence == SentenceScore(0, 17, single.score, limit)


def test_a_sentence_behind_the_cut_still_flags_a_text(detector, loaded, tmp_path):
    detector.save(tmp_path / "d")
    cutting = Detector.load(tmp_path / "d", model=loaded, max_tokens=8, long="cut")
    text = "You are good. We are at the sea. What a nice thing. You rude rude toad."
    (last,) = cutting.score(["You rude rude toad."])
    (record,) = cutting.score([text], by="sentence", threshold=last.score)
    assert (record.verdict, record.cut, record.reason) == ("toxic", True, None)
    (record,) = cutting.score([text], by="sentence", threshold=1.0)
    assert (record.verdict, record.cut) == ("undetermined", True)
    assert record.highest_sentence is not None


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_scores_by_sentence_resume_and_have_their_columns(detector, tmp_path, small_chunks, ending):
    texts = [SENTENCES, "", "You are good."] * 3
    progress = []
    output = tmp_path / f"scores{ending}"
    whole = tmp_path / f"whole{ending}"
    detector.write_scores(texts, whole, by="sentence", progress=lambda *read: progress.append(read))
    assert [sum(part) for part in zip(*progress, strict=True)] == [len(texts), sum(map(len, texts))]

    def stop(record):
        if record.row == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        detector.write_scores(texts, output, by="sentence", observe=stop)
    with pytest.raises(CannotResume):
        detector.write_scores(texts, output)
    detector.write_scores(texts, output, by="sentence")
    assert output.read_bytes() == whole.read_bytes()
    found = detector.score(texts, by="sentence")[0].highest_sentence
    if ending == ".jsonl":
        row = json.loads(output.read_text().splitlines()[0])["highest_sentence"]
        assert list(row) == ["begin", "end", "score", "limit"]
        assert SentenceScore(**row) == found
    elif ending == ".csv":
        row = pandas.read_csv(output)
        columns = [f"highest_sentence.{name}" for name in ("begin", "end", "score", "limit")]
        assert row.loc[0, columns].tolist() == [found.begin, found.end, found.score, found.limit]
        assert row.loc[1, columns].isna().all()
    else:
        cells = pyarrow.parquet.read_table(output)["highest_sentence"].to_pylist()
        assert list(cells[0].values()) == [found.begin, found.end, found.score, found.limit]
        assert cells[1] is None


def test_other_ways_to_score_are_refused(detector):
    with pytest.raises(BadDetector, match="by='word' is no way to score; give 'text' or 'sentence'"):
        detector.score(["a"], by="word")


def test_predict_gives_the_verdicts_of_the_way_that_it_is_asked_for(detector):
    texts = [SENTENCES, "You are good. We are at the sea."]
    (record,) = detector.score([SENTENCES], by="sentence")
    assert record.highest_sentence.score > record.score
    between = (record.highest_sentence.score + record.score) / 2
    assert detector.predict(texts, threshold=between).tolist() == ["clean", "clean"]
    assert detector.predict(texts, threshold=between, by="sentence").tolist() == ["toxic", "clean"]
    for fpr in (0.01, 0.05):
        verdicts = [record.verdict for record in detector.score(texts, fpr=fpr, by="sentence")]
        assert detector.predict(texts, fpr=fpr, by="sentence").tolist() == verdicts
    with pytest.raises(BadDetector, match="by='word' is no way to score"):
        detector.predict(texts, by="word")


def test_sentences_shorter_than_the_detector_judges_do_not_count(detector):
    (record,) = detector.score([SENTENCES], by="sentence")
    tokens = [one.tokens for one in detector.score([SENTENCES[a:b] for a, b in sentence_bounds(SENTENCES)])]
    assert tokens[2] == max(tokens)  # the rude one, which is the highest
    longer = Detector(replace(detector.artifact, min_tokens=max(tokens)), detector.reader)
    assert longer.score([SENTENCES], by="sentence") == [record]
    none = Detector(replace(detector.artifact, min_tokens=max(tokens) + 1), detector.reader)
    (without,) = none.score([SENTENCES], by="sentence", threshold=0.0)
    assert (without.highest_sentence, without.verdict) == (None, "toxic")  # of the whole text
