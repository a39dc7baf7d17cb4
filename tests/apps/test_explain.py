"""Tests ``apps/explain.py``: planted hyperplanes are named, and what is said of them holds by itself."""

import csv
import json
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from splinelens.apps.detector import Detector
from splinelens.apps.explain import explain, store_explanation
from splinelens.detect.artifact import Artifact
from splinelens.detect.calibration import Calibration
from splinelens.detect.heads import LinearHead
from splinelens.detect.shipped import find_artifact
from splinelens.detect.thresholds import Threshold
from splinelens.errors import BadDetector, BadFeatures, BadLabels, BadTexts, NotExplainable, WrongModel
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.table import read_provenance
from splinelens.geometry.directions import Directions
from splinelens.models.load import LoadedModel
from splinelens.report.scores import TextScore
from tests.conftest import build_tiny

LISTS = [[f"{letter}{number}" for number in range(3)] for letter in "abcdefghijklmnopqrst"]
OTHERS = ["the", "of", "and", "is", "not", *(f"z{number}" for number in range(35))]


def sentences(count=400, seed=0, words=None):
    """Random sentences of the words of all lists and others, mostly others."""
    rng = np.random.default_rng(seed)
    vocabulary = words or [*(word for listed in LISTS for word in listed), *OTHERS * 3]
    return [" ".join(rng.choice(vocabulary, rng.integers(5, 14))) for _ in range(count)]


@pytest.fixture(scope="module")
def words_model():
    """The tiny Llama without attention, with a tokenizer of which each word is a token."""
    tiny_llama = build_tiny("llama")
    for layer in tiny_llama.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
    names = ["<unk>", *(word for listed in LISTS for word in listed), *OTHERS]
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<unk>")
    return LoadedModel(tiny_llama, fast, "tiny", None, 3, 3)


def artifact_of(reader, weight, directions=None, **changes):
    """A detector that was not fitted; its columns are standardized on some sentences."""
    values = np.stack([features.values for features in reader.read(sentences(100, seed=5))])
    head = LinearHead(
        values.mean(0, dtype=float), values.std(0, dtype=float) + 1e-6, weight, np.zeros(len(weight))
    )
    logits = head.logit(values)
    held = {
        "name": "planted",
        "task": "binary",
        "labels": ("odd",),
        "negative": "even",
        "model": {"name": "tiny", "fingerprint": reader.loaded.fingerprint.to_dict()},
        "spec": reader.spec.to_dict(),
        "features_dtype": "float32",
        "columns": tuple((column.name, column.size) for column in reader.columns),
        "training": {"rows": 9, "positives": 4, "left_out": 0, "sources": ["a list"], "seed": 0},
        "calibrations": (Calibration(2.0, 0.5),) * len(weight),
        "thresholds": (
            (Threshold(0.05, float(1 / (1 + np.exp(-2 * np.median(logits) - 0.5))), 0.05, (0, 1), 0.5),),
        )
        * len(weight),
        "head": head,
        "directions": directions,
    }
    return Artifact(**held | changes)


@pytest.fixture(scope="module")
def planted(words_model):
    """A head whose hyperplanes fire on one list of words each, half of them on their low side.

    Normals are fitted by least squares: the margin of a token is 1 on the words of a list, and else 0.
    """
    plain = TextReader(words_model, FeatureSpec(("margins",), layers=(0, 1, 2), max_tokens=32))
    words = [*(word for listed in LISTS for word in listed), *OTHERS]
    ((_, values),) = plain.inputs(plain.tokenize([" ".join(words[at : at + 32]) for at in range(0, 100, 32)]))
    x = values.flatten(2).flatten(0, 1).numpy()[: len(words)].astype(float)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    y = np.array([[word in listed for listed in LISTS] for word in words], dtype=float)
    solved = np.linalg.lstsq(x, y, rcond=1e-6)[0]
    sign = np.where(np.arange(20) % 2, -1, 1)
    weight = (sign * solved[:-1]).T.reshape(20, 3, 32).astype(np.float32)
    directions = Directions(weight, (sign * solved[-1]).astype(np.float32))
    spec = FeatureSpec(("directions",), ("max", "min"), (0, 1, 2), max_tokens=32)
    reader = TextReader(words_model, spec, directions=directions)
    weights = np.zeros((1, 40))
    weights[0, np.arange(0, 20, 2)] = np.linspace(1, 2, 10)
    weights[0, 20 + np.arange(1, 20, 2)] = np.linspace(1, 2, 10)  # a low margin lowers the logit
    return Detector(artifact_of(reader, weights, directions), reader)


@pytest.fixture(scope="module")
def explained(planted):
    """The explanation of the planted detector, and its corpus."""
    texts = sentences(500, seed=1)
    return explain(planted, texts, top=20), texts


def test_twenty_of_twenty_planted_hyperplanes_are_named(explained):
    found, _ = explained
    named = {}
    for one in found.hyperplanes:
        number = int(one.hyperplane.rpartition(" ")[2])
        assert one.pooling == ("min" if number % 2 else "max")
        assert one.raises is (number % 2 == 0)
        named[number] = one.name.removeprefix("fires on: ").split(", ")
    assert sorted(named) == list(range(20))
    assert all(set(words) == set(LISTS[number]) for number, words in named.items())
    assert found.carried == pytest.approx(1)
    assert found.pooled_otherwise == pytest.approx(0, abs=1e-9)


def test_what_is_said_of_a_planted_hyperplane_holds_on_the_other_half(explained):
    found, _ = explained
    assert found.holding == 20
    for one in found.hyperplanes:
        faithful = one.faithfulness
        assert faithful.contrast.interval[0] > 0.5
        assert faithful.deletion.drop > faithful.deletion.random_drop + 1


def test_the_word_that_adds_most_matters_more_than_a_random_one(explained):
    found, _ = explained
    removed = found.whole.faithfulness.deletion
    assert removed.texts > 80
    assert removed.larger >= 0.9
    raising = {word for number in range(0, 20, 2) for word in LISTS[number]}
    assert {one.name for one in found.whole.ngrams[:10]} <= raising


class Scripted:
    """Says one thing, and keeps what it was told."""

    loaded = SimpleNamespace(name="a script")

    def __init__(self, answer):
        self.answer, self.prompts = answer, []

    def reply_ids(self, prompt):
        self.prompts.append(prompt)
        return [1]

    def steps(self, ids, sampling):
        return [SimpleNamespace(pieces=(piece,)) for piece in self.answer]


def test_a_generated_sentence_is_measured_by_its_words(planted):
    texts = sentences(300, seed=2)
    writer = Scripted("The words such as a1, and the A2. Others follow.")
    (one,) = explain(planted, texts, top=1, sentences=writer).hyperplanes
    assert one.sentence.text == "The words such as a1, and the A2."
    assert (one.sentence.model, one.sentence.words) == ("a script", ("a1", "a2"))
    assert writer.prompts[0].endswith(", ".join(ngram.name for ngram in one.ngrams[:10]))
    held_out = np.random.default_rng(0).permutation(300)[150:]
    holding = sum(not {"a1", "a2"}.isdisjoint(texts[text].split()) for text in held_out)
    assert one.sentence.contrast.texts == holding
    (silent,) = explain(planted, texts, top=1, sentences=Scripted("")).hyperplanes
    assert (silent.sentence.text, silent.sentence.words, silent.sentence.contrast) == ("", (), None)


def test_contexts_show_the_word_where_the_margin_is_highest(explained):
    found, texts = explained
    for one in found.hyperplanes:
        rows = [place.row for place in one.contexts]
        assert len(set(rows)) == len(rows) >= 3
        for place, ngram in zip(one.contexts, one.ngrams, strict=False):
            assert place.word == ngram.name.split(" ")[-1]
            assert place.before + place.word + place.after == texts[place.row]


def test_an_ngrams_numbers_are_those_of_its_texts(explained, planted):
    found, texts = explained
    one = next(one for one in found.hyperplanes if one.pooling == "max")
    number = int(one.hyperplane.rpartition(" ")[2])
    margins = [features.learned[:, number] for features in planted.reader.read(texts, locate=True)]
    pooled = np.array([values.max() for values in margins])
    words = np.concatenate(margins)
    held = np.random.default_rng(0).permutation(500)[250:]  # of 500 texts that are all different
    assert len(set(texts)) == 500
    ngram = one.ngrams[0]
    naming = [text for text in range(500) if ngram.name in texts[text].split() and text not in held]
    assert ngram.texts == len(naming)
    means = [margins[text][[word == ngram.name for word in texts[text].split()]].mean() for text in naming]
    assert ngram.mean == pytest.approx((np.mean(means) - words.mean()) / words.std(), rel=1e-4)
    there = np.array([ngram.name in texts[text].split() for text in held])
    assert ngram.held_out.texts == there.sum()
    raw = (pooled[held][there].mean() - pooled[held][~there].mean()) / pooled.std()
    assert ngram.held_out.difference == pytest.approx(raw, abs=0.2)  # which is matched by length


def test_shares_are_of_the_logit(explained, planted):
    found, texts = explained
    values = np.stack([features.values for features in planted.reader.read(texts)])
    parts = planted.artifact.head.contributions(values)
    one = found.hyperplanes[0]
    number = int(one.hyperplane.rpartition(" ")[2])
    column = parts[:, number + (20 if one.pooling == "min" else 0)]
    expected = np.cov(column, parts.sum(1))[0, 1] / parts.sum(1).var(ddof=1)
    assert one.share == pytest.approx(expected, rel=1e-4)


def test_the_same_seed_gives_the_same_explanation(planted):
    texts = sentences(60)
    first, again = (explain(planted, texts, top=3).to_dict() for _ in range(2))
    assert first == again
    assert explain(planted, texts, top=3, seed=1).to_dict()["hyperplanes"] != first["hyperplanes"]


def test_labels_say_what_is_confused_and_group_the_words(planted):
    texts = sentences(160, seed=3, words=["a0", "a0", "b1", "b1", "c1", "c1", *OTHERS])
    scores = np.array([record.verdict == "odd" for record in planted.score(texts)])
    labels = scores.astype(float)
    wrong = np.array(["a0" in text.split() for text in texts])
    labels[wrong] = 0  # each text with a0 is even, whatever the detector says
    labels[:5] = np.nan
    found = explain(planted, texts, labels, top=2)
    assert found.whole.false_positives[0].name == "a0"
    assert found.whole.false_positives[0].wrong <= found.whole.false_positives[0].texts
    assert found.whole.false_negatives == ()
    assert found.whole.clean_flagged == ((scores & (labels == 0)).sum(), (labels == 0).sum())
    assert found.whole.missed == ((~scores & (labels == 1)).sum(), (labels == 1).sum())
    assert any(note.startswith("Fewer than 200 texts") for note in found.notes)
    assert found.whole.false_positives[0].interval[0] > 0.1
    assert {group.name for group in found.whole.groups} == {"labeled odd", "labeled even"}
    odd = next(group for group in found.whole.groups if group.name == "labeled odd")
    assert odd.texts == np.nansum(labels)
    assert explain(planted, texts, top=2).whole.false_positives is None


def test_labels_of_one_class_say_nothing_of_the_other(planted):
    ones = explain(planted, sentences(60), np.ones(60), top=1)
    assert ones.whole.false_positives is None
    assert ones.whole.false_negatives is not None
    assert any("labeled even" in note for note in ones.notes)
    unknown = explain(planted, sentences(60), np.full(60, np.nan), top=1).whole
    assert (unknown.false_positives, unknown.false_negatives) == (None, None)
    assert {group.name for group in unknown.groups} == {"flagged as odd", "not flagged"}


def test_equal_texts_share_labels_and_groups(planted):
    texts = sentences(40)
    labels = np.concatenate([np.full(40, np.nan), np.arange(40) % 2, [1.0]])  # the first text is 0, then 1
    early = np.arange(81) == 45  # text 5, in its second row
    found = explain(planted, [*texts, *texts, texts[0]], labels, top=1, groups={"early": early})
    assert [(group.name, group.texts) for group in found.whole.groups] == [("early", 1)]
    assert "1 text with both labels in different rows count as unlabeled." in found.notes
    found = explain(planted, [*texts, *texts, texts[0]], labels, top=1)
    assert {group.name: group.texts for group in found.whole.groups} == {
        "labeled odd": 20,
        "labeled even": 19,
    }


def test_groups_that_are_not_listed_are_counted(planted):
    row = np.arange(60)
    groups = {f"g{number}": (row < 6 * number + 3) for number in range(14)}
    found = explain(planted, sentences(60), top=1, groups={**groups, "none": row < 0})
    assert [group.name for group in found.whole.groups] == [
        *(f"g{at}" for at in range(10, 14)),
        *(f"g{at}" for at in range(9, 1, -1)),
    ]
    assert "The 12 largest of 14 groups are listed." in found.notes
    assert "1 group without a text that was read: not listed." in found.notes


@pytest.mark.parametrize(
    "mask", [np.ones(59, dtype=bool), np.ones(61, dtype=bool), np.ones(60), np.array(["0", "1"] * 30)]
)
def test_groups_that_cannot_be_are_refused(planted, mask):
    with pytest.raises(BadLabels, match=r"group 'g' has .* for 60 texts: give one boolean a text"):
        explain(planted, sentences(60), groups={"g": mask})


def test_words_are_listed_by_the_groups_of_the_user(planted):
    texts = sentences(200, seed=4)
    first = np.arange(200) < 50
    found = explain(planted, texts, top=1, groups={"early": first, "late": ~first, "none": first & ~first})
    assert [(group.name, group.texts) for group in found.whole.groups] == [("late", 150), ("early", 50)]
    total = {}
    for record in planted.score(texts[:50], explain=True, words="shapley"):
        for word in record.words:
            key = texts[record.row][word.begin : word.end]
            total[key] = total.get(key, 0.0) + word.contribution
    best = max(total, key=total.get)
    early = found.whole.groups[1].words[0]
    assert (early.name, early.per_text) == (best, pytest.approx(total[best] / 50))


def test_words_that_fire_alike_share_the_logit_and_sum_to_it(planted):
    texts = ["a0 z1 a1 z2 the a2", "z1 z2 z3", "", "c0 is not c1"]
    plain = planted.score(texts, explain=True)
    shared = planted.score(texts, explain=True, words="shapley")
    assert shared[2].words is None
    values = np.array([word.contribution for word in shared[0].words])
    strongest = sorted(np.argsort(-values)[:3].tolist())
    assert [texts[0].split()[at] for at in strongest] == ["a0", "a1", "a2"]
    assert values[strongest].min() > 0.3 * values.max()
    for token, shapley in zip(plain, shared, strict=True):
        assert (shapley.score, shapley.constant, shapley.spans) == (token.score, token.constant, token.spans)
        for one, other in zip(token.words or (), shapley.words or (), strict=True):
            assert (one.begin, one.end) == (other.begin, other.end)
        for whole in ("words", "sentences"):
            sums = [sum(part.contribution for part in getattr(one, whole) or ()) for one in (token, shapley)]
            assert sums[0] == pytest.approx(sums[1], abs=1e-4)
    assert shared[0].top_words.split()[0] == texts[0].split()[int(values.argmax())]


def test_words_fire_only_in_texts_with_the_label(planted):
    text = "c0 is not c1"
    low, high = planted.score([text], explain=True)[0].score * np.array([0.5, 1.5])
    (odd,) = planted.score([text], explain=True, words="shapley", threshold=low)
    (even,) = planted.score([text], explain=True, words="shapley", threshold=min(high, 1.0))
    assert (odd.verdict, even.verdict) == ("odd", "even")
    assert [word.fires for word in odd.words] == [True, False, False, True]
    assert [word.fires for word in even.words] == [False] * 4
    assert [word.contribution for word in odd.words] == [word.contribution for word in even.words]


def test_a_word_fires_where_a_sentence_gives_the_verdict(planted):
    text = "z1 z2. c0"
    whole, sentence = planted.score([text, "c0"], explain=True)
    (record,) = planted.score(
        [text], explain=True, words="shapley", by="sentence", threshold=max(whole.score, sentence.score)
    )
    assert record.verdict == "odd"
    assert record.words[-1].fires


def test_the_label_that_is_explained_has_words_of_its_own(planted):
    weights = np.concatenate([planted.artifact.head.weight, np.zeros((1, 40))])
    weights[1, 4] = 1.0  # fires on the words of list 4
    changes = {"task": "labels", "labels": ("odd", "rare")}
    artifact = artifact_of(planted.reader, weights, planted.artifact.directions, **changes)
    several = Detector(artifact, planted.reader)
    text = ["e0 c0 z1"]
    (rare,) = several.score(text, explain="rare", words="shapley", threshold=0.0)
    (single,) = several.single_label("rare").score(text, explain=True, words="shapley", threshold=0.0)
    assert rare.words == single.words
    assert [word.fires for word in rare.words] == [True, False, False]


def test_files_hold_the_values_and_a_stopped_run_is_of_one_kind(planted, tmp_path):
    texts = ["a0 z1 a1 z2 the a2", "z1 z2 z3"]
    records = planted.score(texts, explain=True, words="shapley")
    output = tmp_path / "scores.jsonl"
    planted.write_scores(texts, output, explain=True, words="shapley")
    assert [TextScore.from_dict(json.loads(line)) for line in output.read_text().splitlines()] == records
    tables = tmp_path / "scores.csv"
    planted.write_scores(texts, tables, explain=True, words="shapley")
    with tables.open(newline="") as file:
        assert [row["top_words"] for row in csv.DictReader(file)] == [one.top_words for one in records]
    planted.write_scores(texts, tmp_path / "scores.parquet", explain=True, words="shapley")
    settings = read_provenance(tmp_path / "scores.parquet")
    assert settings["words"] == "shapley"
    planted.write_scores(texts, tmp_path / "tokens.parquet", explain=True)
    assert "words" not in read_provenance(tmp_path / "tokens.parquet")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"words": "shapley"}, "give explain=True, too"),
        ({"words": "sentence", "explain": True}, "give 'token' or 'shapley'"),
    ],
)
def test_words_that_cannot_be_are_refused(planted, settings, message):
    with pytest.raises(BadDetector, match=message):
        planted.score(["a0"], **settings)


def test_words_of_other_columns_are_not_shared_out(words_model):
    reader = TextReader(words_model, FeatureSpec(("margins",), layers=(0,), max_tokens=32))
    detector = Detector(artifact_of(reader, np.ones((1, 48))), reader)
    with pytest.raises(
        NotExplainable, match=r"reads layer00\.margin_max, and only learned margins are shared"
    ):
        detector.score(["a0"], explain=True, words="shapley")


def test_one_layer_gives_the_hyperplanes_that_read_it(planted):
    weight = planted.artifact.directions.weight.copy()
    weight[:10, 1] = 0  # the first ten do not read layer 1
    directions = Directions(weight, planted.artifact.directions.bias)
    reader = TextReader(planted.reader.loaded, planted.reader.spec, directions=directions)
    detector = Detector(artifact_of(reader, planted.artifact.head.weight, directions), reader)
    found = explain(detector, sentences(60), layer=1, top=40)
    assert {int(one.hyperplane.rpartition(" ")[2]) for one in found.hyperplanes} == set(range(10, 20))
    with pytest.raises(BadFeatures, match="reads no hyperplane at layer 7; it reads layers 0, 1, 2"):
        explain(detector, sentences(60), layer=7)


def test_gates_are_hyperplanes_too(words_model):
    spec = FeatureSpec(("margins",), ("max", "last", "mean"), (0, 2), max_tokens=32)
    reader = TextReader(words_model, spec)
    weights = np.zeros((1, 48 * 6))
    weights[0, [3, 48 + 5, 96 + 7, 144 + 9]] = 1.0, -2.0, 3.0, 1.0
    detector = Detector(artifact_of(reader, weights), reader)
    found = explain(detector, sentences(200), top=4)
    shown = {(one.hyperplane, one.pooling, one.raises) for one in found.hyperplanes}
    expected = {("layer 0, neuron 3", "max", True), ("layer 0, neuron 5", "mean", False)}
    order = [(column.name, column.layer) for column in reader.columns]
    assert [name for name, _ in order[:3]] == [
        "layer00.margin_max",
        "layer00.margin_mean",
        "layer00.margin_last",
    ]
    assert expected <= shown
    assert (
        found.whole.inseparable
        == "it reads layer00.margin_mean, and only max, min and last margins come from one token"
    )
    assert found.whole.ngrams == found.whole.groups == ()
    assert any("does not split over tokens" in note for note in found.notes)
    assert found.pooled_otherwise == pytest.approx(0, abs=1e-9)


def test_a_detector_without_margins_is_refused(words_model):
    reader = TextReader(words_model, FeatureSpec(("spline7", "occupancy"), layers=(0,), max_tokens=32))
    detector = Detector(artifact_of(reader, np.ones((1, 7 + 48))), reader)
    with pytest.raises(
        NotExplainable, match=r"reads layer00\.sign_mean and no margin to one; its numbers are means"
    ):
        explain(detector, sentences(60))


def test_what_is_no_margin_is_told(words_model):
    spec = FeatureSpec(("margin_max", "occupancy"), layers=(0,), max_tokens=32)
    reader = TextReader(words_model, spec)
    detector = Detector(artifact_of(reader, np.ones((1, 96))), reader)
    found = explain(detector, sentences(100), top=48)
    assert found.carried + found.pooled_otherwise == pytest.approx(1)
    assert found.pooled_otherwise > 0.01


def test_a_label_of_several_is_explained_by_itself(planted):
    weights = np.concatenate([planted.artifact.head.weight, np.zeros((1, 40))])
    weights[1, 4] = 1.0
    changes = {"task": "labels", "labels": ("odd", "rare")}
    artifact = artifact_of(planted.reader, weights, planted.artifact.directions, **changes)
    found = explain(Detector(artifact, planted.reader), sentences(100), label="rare", top=1)
    assert (found.label, found.hyperplanes[0].hyperplane) == ("rare", "learned hyperplane 4")
    assert found.hyperplanes[0].share == pytest.approx(1)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a0 b1", "c1", "d0 d1"], "needs at least 20 different texts that can be read, .* and there are 3"),
        (["a0 b1"] * 500, "there are 1"),
        ([f"a0 {'b1 ' * row}" for row in range(19)] + ["", None, "  "], "there are 19"),
        ([], "list has no rows"),
    ],
    ids=["3 texts", "equal", "unreadable", "none"],
)
def test_a_small_corpus_is_refused(planted, texts, message):
    with pytest.raises(BadTexts, match=message):
        explain(planted, texts)


def test_punctuation_and_what_turns_a_line_around_are_no_words(planted):
    texts = [f"{text} !!! == \u202e{text.split()[0]}" for text in sentences(60)]
    found = explain(planted, texts, top=2)
    names = [ngram.name for one in found.hyperplanes for ngram in one.ngrams]
    names += [ngram.name for ngram in found.whole.ngrams]
    names += [word.name for group in found.whole.groups for word in group.words]
    assert names
    assert not any("!" in name or "=" in name or "\u202e" in name for name in names)


def test_every_pass_is_reported(planted):
    passes = []

    @contextmanager
    def opened(texts):
        read = []
        yield lambda count, characters: read.append(count)
        passes.append((len(texts), sum(read)))

    explain(planted, sentences(60), top=2, progress=opened)
    assert [count == read for count, read in passes] == [True, True]
    assert passes[0] == (60, 60)


def test_rows_that_are_not_used_are_counted(planted):
    texts = [*sentences(40), *sentences(3), "", None]
    found = explain(planted, texts, top=1)
    assert found.texts == 40
    assert sum(found.left_out.values()) == 5
    assert found.left_out["it repeats another row"] == 3


def test_texts_with_one_score_are_refused(planted):
    constant = replace(planted.artifact.head, weight=np.zeros((1, 40)))
    detector = Detector(replace(planted.artifact, head=constant), planted.reader)
    with pytest.raises(BadTexts, match="have all the same score"):
        explain(detector, sentences(60))


@pytest.mark.parametrize("top", [0, -1, 2.5, "3"])
def test_a_number_of_hyperplanes_that_cannot_be_is_refused(planted, top):
    with pytest.raises(BadFeatures, match=r"top=.*need a positive number"):
        explain(planted, sentences(60), top=top)


@pytest.mark.parametrize("labels", [np.ones(3), np.full(60, 2.0), np.ones((60, 2)), ["odd"] * 60])
def test_labels_that_cannot_be_are_refused(planted, labels):
    with pytest.raises(BadLabels, match="give one 0, 1 or NaN a text"):
        explain(planted, sentences(60), labels)


def test_function_words_are_marked_and_a_corpus_without_them_is_told(planted):
    found = explain(planted, sentences(200, words=["the", "of", "and", "is", "not"]), top=3)
    assert all(ngram.function_words for one in found.hyperplanes for ngram in one.ngrams)
    assert not any("another language" in note or "Fewer" in note for note in found.notes)
    foreign = explain(planted, sentences(100, words=["z1", "z2", "a0", "b0", "z9"]), top=1)
    assert any("seems to be in another language" in note for note in foreign.notes)
    assert not any(ngram.function_words for one in foreign.hyperplanes for ngram in one.ngrams)


def test_the_main_findings_are_stored_with_the_detector(explained, planted, tmp_path):
    found, _ = explained
    planted.artifact.save(tmp_path)
    store_explanation(tmp_path, found)
    stored = find_artifact(tmp_path)
    assert stored.digest == planted.artifact.digest
    assert stored.training["explained"]["holding"] == 20
    other = replace(found, provenance={"detector": "another"})
    with pytest.raises(WrongModel, match="the explanation is not of the detector in"):
        store_explanation(tmp_path, other)
