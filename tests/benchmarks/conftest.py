"""What these tests share: a small folder of evaluation data with mild sentences, and a tiny model."""

import csv
import json
import random

import numpy as np
import pytest
from detection.data import read_evaluation
from detection.features import Features
from detection.protocols import Plan

from splinelens.apps.detector import Detector
from splinelens.apps.training import fit_detector
from splinelens.features.reader import TextReader
from splinelens.models import LoadedModel
from splinelens.texts import Texts

RUDE = ("silly", "goose", "dull", "noisy")
KIND = ("gentle", "clear", "quiet", "warm")
REST = "the river bends past an old mill where children feed ducks and count boats in summer rain".split()
DOMAINS = ("rivers", "kitchens", "patent")


@pytest.fixture
def loaded(tiny_of, tiny_tokenizer):
    model = tiny_of("llama", max_position_embeddings=2048)  # room for a window after the longest prompt
    return LoadedModel(model.eval().requires_grad_(False), tiny_tokenizer, "tiny", None, 3, 3)


def _write(path, rows, delimiter=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def _harmless(place, sentence):
    kinds = ("ident_neutral_nh", "derog_neg_emote_h", "counter_quote_nh")
    _write(
        place / "hatecheck/test_suite_cases.csv",
        [
            {
                "test_case": sentence(row % 3 == 1),
                "label_gold": ("non-hateful", "hateful")[row % 3 == 1],
                "functionality": kinds[row % 3],
            }
            for row in range(30)
        ],
    )
    _write(
        place / "xstest/xstest_prompts.csv",
        [{"prompt": sentence(row % 2), "label": ("safe", "unsafe")[row % 2]} for row in range(20)],
    )


def _other_sources(place, sentence, tested, trained):
    """What only detection/sources.py reads; one row repeats a tested text, one a row of another source."""
    _write(
        place / "toxigen-annotated/toxigen_annotated.csv",
        [
            {"text": text, "label": ("neutral", "hate")[row % 2]}
            for row, text in enumerate([tested.title() + "?", trained + "!!", *map(sentence, [0, 1] * 15)])
        ],
    )
    _write(
        place / "toxic-spans/tsd_trial.csv", [{"spans": "[]", "text": sentence(row % 2)} for row in range(9)]
    )
    lines = [" = A mill = ", *(" ".join(sentence(0) for _ in range(9)) for _ in range(9)), "too short"]
    (place / "wikitext2-test").mkdir()
    (place / "wikitext2-test/wiki.test.txt").write_text("".join(f" {line} \n" for line in lines), "utf-8")


@pytest.fixture
def folder(tmp_path):
    """Every set; the first test row of jig is a training row too."""
    place = tmp_path / "data"
    rng = random.Random(0)

    def sentence(rude):
        words = [*rng.choices(REST, k=rng.randint(3, 9)), *rng.choices(RUDE if rude else KIND, k=2)]
        rng.shuffle(words)
        return " ".join(words)

    def write(name, rows, delimiter=","):
        _write(place / name, rows, delimiter)

    splits = ["train"] * 40 + ["test"] * 60
    jig = [
        {"comment_text": sentence(row % 2), "toxic": row % 2, "split": split}
        for row, split in enumerate(splits)
    ]
    jig[40]["comment_text"] = jig[0]["comment_text"].upper() + "!"
    write("jigsaw-test-binary-12k/jigsaw_test_balanced.csv", jig)
    six = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
    labeled = [
        {"comment_text": sentence(row % 2), **dict.fromkeys(six, row % 2), "in_test12k": 0, "split": split}
        for row, split in enumerate(splits)
    ]
    write("jigsaw6-raw/jigsaw6_raw.csv", labeled)
    write("jigsaw6-clean/jigsaw6_clean.csv", labeled)
    write(
        "paradetox/paradetox.tsv", [{"toxic": sentence(1), "neutral1": sentence(0)} for _ in range(40)], "\t"
    )
    write(
        "tweeteval/tweeteval_offensive.csv",
        [
            {"text": sentence(row % 2), "label": row % 2, "split": ("train", "test", "val")[row // 20]}
            for row in range(50)
        ],
    )
    seed = [{"text": sentence(row % 2), "label": ("neutral", "hate")[row % 2]} for row in range(50)]
    write("toxigen-seed/toxigen_seed_sentences.csv", seed)
    _harmless(place, sentence)
    lines = [
        {"domain": kind, "doc_id": f"{row // 2}:{row}", "text": f"{kind} {sentence(0)} {kind}"}
        for kind in DOMAINS
        for row in range(40)
    ]
    (place / "domains").mkdir()
    (place / "domains/domains.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    _other_sources(place, sentence, seed[0]["text"], jig[1]["comment_text"])
    return place


@pytest.fixture
def data(folder):
    return read_evaluation(folder)


@pytest.fixture
def plan(data):
    """A plan that counts words for tokens."""

    def count_words(rows):
        return np.array([len(text.split()) for text in rows.texts(data)], dtype=np.float32)

    return Plan(data, 3, count_words)


@pytest.fixture
def features(data, loaded, tmp_path):
    return Features(data, tmp_path / "cache", loaded)


@pytest.fixture
def halves(plan):
    return plan.halves("jig")


@pytest.fixture
def fitted(data, loaded):
    """A function that fits a detector on rows."""

    def fitted(spec, rows, **more):
        texts, reader = Texts(tuple(rows.texts(data)), {}, "rows"), TextReader(loaded, spec)
        more = {"name": "ours", "strengths": (1e-2,), "sources": ["these rows"], **more}
        return Detector(fit_detector(texts, rows.labels, reader, **more).artifact, reader)

    return fitted
