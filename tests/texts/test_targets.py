"""Tests ``texts/targets.py``: agents, targets and what is said in mild threats and insults, by trees only."""

import json
from pathlib import Path

import pytest

from splinelens.texts.parse import Tree, load_parser, parse
from splinelens.texts.targets import agent_and_target, predicates

pytest.importorskip("spacy")
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def parser():
    return load_parser()


@pytest.fixture(scope="module")
def found(parser):
    """The agent, the target and what is said of the first sentence of a text."""

    def find(text, roles=None):
        who = agent_and_target(parse(parser, text)[0], roles)
        return tuple(bounds and text[slice(*bounds)] for bounds in (who.agent, who.target, who.said))

    return find


@pytest.mark.parametrize(
    ("text", "agent", "target", "said"),
    [
        ("The tailor says that pilots are fools.", "The tailor", "pilots", "that pilots are fools"),
        ("The tailor was told by the pilot to wait.", "the pilot", "The tailor", "to wait"),
        ("The report says a driver hit the nurse.", "a driver", "the nurse", "a driver hit the nurse"),
        ("I am going to mock your uncle.", "I", "your uncle", "am going to mock your uncle"),
        ("The drummer was mocked by the choir.", "the choir", "The drummer", "was mocked by the choir"),
        ("The drummer was threatened.", None, "The drummer", "was threatened"),
        ("All drummers are liars.", None, "All drummers", "are liars"),
        ("Go home, Maria!", None, "Maria", "Go home, Maria"),
        ("Go home, you toad!", None, "you toad", "Go home"),
        ("Don't trust the tailor.", None, "the tailor", "Don't trust the tailor"),
        ("Why does the judge hate the drummer?", "the judge", "the drummer", "hate the drummer"),
        ("Unless you stop, I will wake the guard.", "I", "you", "will wake the guard"),
        ("Run or I will catch you.", "I", "you", "Run or I will catch you"),
        ("It was the tailor who insulted the guests.", "the tailor", "the guests", None),
        ("There is no greater liar than the tailor.", None, "the tailor", None),
        ("Nobody is lazier than the tailor.", None, "the tailor", None),
        ("According to my aunt, tailors are lazy.", "my aunt", "tailors", "are lazy"),
        ("The boys threw snow at the tailor.", "The boys", "the tailor", "threw snow at the tailor"),
        ("They make fun of the tailor.", "They", "the tailor", "make fun of the tailor"),
        ("I will have the tailor fired.", "I", "the tailor", "will have the tailor fired"),
        ("You make me sick.", None, "You", "make me sick"),
        ("I hope the tailor loses his needle.", "I", "the tailor", "hope the tailor loses his needle"),
        ("I hope someone steals his needle.", "I", "his needle", "hope someone steals his needle"),
        ("You will lose your hair.", None, "You", "will lose your hair"),
        ("The mob entered the hall and attacked the choir.", "The mob", "the choir", None),
        ("Our tailor, a real toad, fired the maid.", "Our tailor", "the maid", "fired the maid"),
        ("Shame on the tailor!", None, "the tailor", None),
        ("He taught the tailor to lie.", "He", "the tailor", "taught the tailor to lie"),
        ("The fool who came.", None, "The fool", None),
        ("All of you are fools.", None, "All of you", "are fools"),
        ("Peter, go home.", None, "Peter", "go home"),
        ("Poor stupid, lazy men.", None, "Poor stupid, lazy men", None),
        ("I am tired of the tailor.", "I", "the tailor", "am tired of the tailor"),
    ],
)  # fmt: skip
def test_who_does_what_to_whom(found, text, agent, target, said):
    assert found(text)[:2] == (agent, target)
    if said is not None:  # None: not checked
        assert found(text)[2] == said


def test_a_long_chain_of_verbs_is_no_recursion(found):
    assert len(found("He " + "went and came and " * 600 + "lied.")) == 3  # no RecursionError


@pytest.mark.parametrize(
    "name", ["threats", "threats-second", "threats-third", "threats-dev", "threats-dev-2"]
)
def test_agreement_is_what_the_record_says(found, name):
    record = json.loads((REPOSITORY / "benchmarks/roles.json").read_text("utf-8"))["threats"][name]
    lines = (REPOSITORY / f"benchmarks/texts/{name}.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == record["sentences"]
    right = 0
    for row in rows:
        answer = found(row["text"])[1]
        right += _bare(answer) == _bare(row["target"])
    share = record["tree only"]["target"]["span"]["agreement"]
    assert right / len(rows) == pytest.approx(share, abs=0.021)  # the last sentence with a target may differ


def _bare(phrase):
    words = (phrase or "").strip(' ,.!"').split()
    return words[1:] if words and words[0].lower() in ("the", "a", "an") else words


def test_a_sentence_of_500_words(found):
    text = "The skater told the painter, " + "who was there and who was here, " * 70 + "that he would pay."
    assert len(text.split()) > 490
    assert found(text)[:2] == ("The skater", "the painter")


def test_orders_and_sentences_without_a_verb(parser):
    order = agent_and_target(parse(parser, "Get out of my kitchen.")[0])
    assert (order.agent, order.target, order.is_order) == (None, None, True)
    bare = agent_and_target(parse(parser, "Oh no, never, ever.")[0])
    assert (bare.agent, bare.said) == (None, None)


def test_roles_decide_which_argument_is_meant(found):
    text = "The crowd gathered for the winner."
    assert found(text)[1] == "The crowd"
    assert found(text, {2: {1: "ARG0", 5: "ARG1"}})[:2] == ("The crowd", "the winner")


def test_verbs_are_no_auxiliaries_and_no_modals(parser):
    tree = parse(parser, "He will have been a fool and was seen.")[0]
    assert [tree.words[verb] for verb in predicates(tree)] == ["been", "seen"]


def test_every_span_is_within_the_sentence_whatever_is_written(parser):
    texts = [
        "go " * 500 + "home",
        "You fool, " * 120 + "said Tom.",
        "?!?! ... --- ((()))",
        "he she it they said that that that",
        "Der Hund beißt den Mann und die Frau im Garten.",
        "\n\n  \t x",
        "said said said by by by who who",
        "\ud800 you are a fool",
        "a\x00b \U0001f642 you",
    ]
    for text in texts:
        trees = parse(parser, text)
        assert trees
        for tree in trees:
            who = agent_and_target(tree)
            for bounds in (who.agent, who.target, who.said):
                assert bounds is None or tree.spans[0][0] <= bounds[0] < bounds[1] <= tree.spans[-1][1]


def test_a_tree_whose_heads_run_in_a_circle_ends():
    tree = Tree("a b", ((0, 1), (2, 3)), ("a", "b"), ("VERB", "NOUN"), ("VB", "NN"), (1, 0), ("conj", "obj"))
    assert list(tree.ancestors(0)) == [1, 0]
    assert agent_and_target(tree).agent is None
