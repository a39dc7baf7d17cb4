"""Every source of training rows: what it is, under which licence, which rows are taken, and its role.

The one recipe of the detectors with learned hyperplanes. Rows of HateCheck, XSTest, ToxiGen's seed set, the forum
comments and the test splits of labeled sets are never among them, nor a row with the letters and digits of one of
theirs. WikiText-2 has no labels: the evaluation data holds its test file only, and ``bar_sets`` measures on the
paragraphs that are not fitted on. The train rows of toxic-spans are not fitted on: all are toxic, ``spans.py`` chooses
the limit of a word on them, and so every number on toxic-spans is of a source that was left out.
"""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from detection.data import TYPES, letters_and_digits, read_evaluation
from detection.protocols import document
from splinelens.texts import Texts

HERE = Path(__file__).parent.parent
PAIRS, FORUM = HERE / "texts/pairs.jsonl", HERE / "texts/forum.jsonl"


@dataclass(frozen=True, eq=False)
class SourceRows:
    """Rows of one source.

    Attributes:
        texts: The texts.
        labels: 1 for toxic.
        train: Whether a row may be fitted on.
        types: (row, label) of Jigsaw's six labels, where the source has them.
    """

    texts: list[str]
    labels: np.ndarray
    train: np.ndarray
    types: np.ndarray | None = None


@dataclass(frozen=True)
class Source:
    """A source of rows.

    Attributes:
        name: Short name, that of its folder in the cache.
        what: The rows, in words.
        licence: Licence of texts and labels.
        rows: Rows that may be fitted on, before those that repeat a tested text or an earlier row are left out.
        role: ``thresholds`` if out-of-fold scores of its rows also give calibration and thresholds (``jig`` of
            toxicity, ``raw`` of types), ``training`` if not, ``harmless`` if no row is toxic.
        read: Reads the rows from the data folder.
        max_tokens: Longer texts are cut.
    """

    name: str
    what: str
    licence: str
    rows: int
    role: Literal["thresholds", "training", "harmless"]
    read: Callable[[Path], SourceRows]
    max_tokens: int = 256


def _evaluation(name: str) -> Callable[[Path], SourceRows]:
    def read(folder: Path) -> SourceRows:
        texts = read_evaluation(folder, [name]).sets[name]
        split = np.array(texts.columns["split"])
        train = split == "train"
        if "in_test12k" in texts.columns:
            train &= np.array(texts.columns["in_test12k"]) == "0"
        rows = np.arange(len(texts))
        if name == "clean":
            rows = _sample(np.flatnonzero(train), 2500)
        if name == "tweet":
            rng = np.random.default_rng(_SEED)
            parts = [np.flatnonzero(split == "train"), np.flatnonzero(split == "test")]
            parts.append(np.flatnonzero((split != "train") & (split != "test")))
            taken = [rng.permutation(part)[:n] for part, n in zip(parts, (6000, 860, 1140), strict=True)]
            rows = np.sort(np.concatenate(taken))
        types = None
        if name in ("raw", "clean"):
            types = (
                np.array([[v == "1" for v in texts.columns[label]] for label in TYPES]).T[rows].astype(int)
            )
        labels = np.array(texts.columns["positive"], dtype=int)[rows]
        return SourceRows([texts.texts[r] or "" for r in rows], labels, train[rows], types)

    return read


def _paradetox(folder: Path) -> SourceRows:
    texts = read_evaluation(folder, ["para"]).sets["para"]
    half = len(texts) // 2
    pairs = _sample(np.arange(half), 4000)
    rows = np.concatenate([pairs, pairs + half])
    labels = np.array(texts.columns["positive"], dtype=int)[rows]
    return SourceRows([texts.texts[r] or "" for r in rows], labels, np.ones(len(rows), bool))


def _toxigen(folder: Path) -> SourceRows:
    with open(folder / "toxigen-annotated/toxigen_annotated.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = np.array([row["label"] == "hate" for row in rows], dtype=int)
    return SourceRows([row["text"] for row in rows], labels, np.ones(len(rows), bool))


def _domains(folder: Path) -> SourceRows:
    texts = read_evaluation(folder, ["domains"]).sets["domains"]
    rows = _sampled_pieces(texts)
    train = np.isin(_documents(texts), _training_documents(texts))[rows]
    return _beginnings([texts.texts[row] or "" for row in rows], train)


def _sampled_pieces(texts: Texts) -> np.ndarray:
    pieces = np.array(texts.columns["doc_id"])
    names = np.unique(pieces)
    chosen = np.random.default_rng(_SEED).permutation(names)[: int(0.7 * len(names))]
    return np.flatnonzero(np.isin(pieces, chosen))


def _documents(texts: Texts) -> np.ndarray:
    return np.array(list(map(document, texts.columns["domain"], texts.columns["doc_id"])))


def _training_documents(texts: Texts) -> np.ndarray:
    """The documents whose first piece is among the sampled ones."""
    names, first = np.unique(_documents(texts), return_index=True)
    return names[np.isin(first, _sampled_pieces(texts))]


def _wikitext(folder: Path) -> SourceRows:
    with open(folder / "wikitext2-test/wiki.test.txt", encoding="utf-8") as file:
        lines = [line.strip() for line in file if len(line) > 200 and not line.strip().startswith("=")]
    return _beginnings(lines[:700], np.ones(len(lines[:700]), bool))


def _beginnings(texts: list[str], train: np.ndarray) -> SourceRows:
    """Harmless texts, each cut to its first 12 to 190 words, so that length says nothing."""
    rng = np.random.default_rng(5)
    texts = [" ".join(text.split(" ")[: int(rng.choice([12, 25, 50, 100, 190]))]) for text in texts]
    return SourceRows(texts, np.zeros(len(texts), int), train)


def _pairs(_folder: Path) -> SourceRows:
    with open(PAIRS, encoding="utf-8") as file:
        pairs = [json.loads(line) for line in file]
    texts = [text for pair in pairs for text in (pair["rude"], pair["harmless"])]
    return SourceRows(texts, np.tile([1, 0], len(pairs)), np.ones(len(texts), bool))


def _sample(rows: np.ndarray, count: int) -> np.ndarray:
    return np.sort(np.random.default_rng(_SEED).permutation(rows)[:count])


_SEED = 11
SOURCES = {
    source.name: source
    for source in (
        Source(
            "jig",
            "Wikipedia comments, half toxic (Jigsaw test set)",
            "CC0 labels, CC BY-SA 3.0 text",
            8526,
            "thresholds",
            _evaluation("jig"),
        ),
        Source(
            "raw",
            "Wikipedia comments with six labels (Jigsaw)",
            "CC0 labels, CC BY-SA 3.0 text",
            2645,
            "thresholds",
            _evaluation("raw"),
        ),
        Source(
            "clean",
            "2,500 of them in lower case without punctuation",
            "CC0 labels, CC BY-SA 3.0 text",
            2500,
            "training",
            _evaluation("clean"),
            128,
        ),
        Source("tgann", "statements on groups, rated by people (ToxiGen)", "MIT", 4401, "training", _toxigen),
        Source(
            "tweet",
            "6,000 tweets, offensive or not (TweetEval)",
            "unrestricted, task terms apply",
            6000,
            "training",
            _evaluation("tweet"),
        ),
        Source(
            "para",
            "4,000 toxic sentences and their neutral paraphrases (ParaDetox)",
            "CC0",
            8000,
            "training",
            _paradetox,
        ),
        # Licences of the nine: abstracts of PubMed MIT; court opinions public domain; patents CC0; generated
        # mathematics Apache-2.0; solutions of GSM8K MIT; instructions CC BY-SA 3.0, Apache-2.0; Wikipedia and talk
        # pages CC BY-SA 3.0; Python's standard library PSF.
        Source(
            "domains",
            "beginnings of ordinary texts of nine domains",
            "per source",
            2363,
            "harmless",
            _domains,
        ),
        Source(
            "wiki",
            "beginnings of Wikipedia paragraphs (WikiText-2)",
            "CC BY-SA 3.0",
            700,
            "harmless",
            _wikitext,
        ),
        Source(
            "pairs", "3,670 contrast pairs written for this project", "Apache-2.0", 7340, "training", _pairs
        ),
    )
}
"""Every source by name, in the order of the training rows."""


def tested_texts(folder: Path) -> set[str]:
    """Letters and digits of the texts that are tested; none of them is fitted on.

    Without the German and Spanish cases, pairs of ParaDetox and windows of ordinary text: of these ``bars.py``
    measures the ones that are not fitted on.
    """
    data = read_evaluation(folder, ["jig", "raw", "clean", "tweet", "toxigen", "hatecheck", "xstest"]).sets
    keys = {
        letters_and_digits(text) for name in ("toxigen", "hatecheck", "xstest") for text in data[name].texts
    }
    for name in ("jig", "raw", "clean", "tweet"):
        pairs = zip(data[name].texts, data[name].columns["split"], strict=True)
        keys |= {letters_and_digits(text) for text, split in pairs if split != "train"}
    with open(folder / "toxic-spans/tsd_trial.csv", newline="", encoding="utf-8") as file:
        keys |= {letters_and_digits(row["text"]) for row in csv.DictReader(file)}
    with open(FORUM, encoding="utf-8") as file:
        keys |= {letters_and_digits(json.loads(line)["text"]) for line in file}
    return keys


def unfitted_documents(folder: Path) -> list[tuple[str, str]]:
    """Domain and text of every piece of the documents of ``domains`` that nothing is fitted on."""
    texts = read_evaluation(folder, ["domains"]).sets["domains"]
    kept = ~np.isin(_documents(texts), _training_documents(texts))
    pairs = zip(texts.columns["domain"], texts.texts, kept, strict=True)
    return [(domain, text) for domain, text, keep in pairs if keep and text]
