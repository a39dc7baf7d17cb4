"""Tests ``texts/agents.py``: agents and targets of mild threats and insults, by trees only."""

import pytest

from splinelens.texts.agents import actors, predicates
from splinelens.texts.parse import Tree, load_parser, parse

pytest.importorskip("spacy")


@pytest.fixture(scope="module")
def found():
    """The agent, the target and what is said of the first sentence of a text."""
    parser = load_parser()

    def find(text, roles=None):
        who = actors(parse(parser, text)[0], roles or {})
        return tuple(bounds and text[slice(*bounds)] for bounds in (who.agent, who.target, who.said))

    return find


@pytest.mark.parametrize(
    ("text", "agent", "target", "said"),
    [
        (
            "The baker told the customer that he was a fool.",
            "The baker",
            "the customer",
            "that he was a fool",
        ),
        ("I am going to sue your brother.", "I", "your brother", "am going to sue your brother"),
        ("The violinist was mocked by the orchestra.", "the orchestra", "The violinist", None),
        ("The dentist was threatened.", None, "The dentist", "was threatened"),
        ("All gardeners are liars.", None, "All gardeners", "are liars"),
        ("Go away, Linda!", None, "Linda", None),
        ("Leave my sister alone.", None, "my sister", None),
        ("Why did the judge insult the witness?", "the judge", "the witness", "insult the witness"),
        ('Paul said: "The editor is a crook."', "Paul", "The editor", "The editor is a crook"),
        ('"We will find you," wrote the sailors.', "the sailors", "you", "We will find you"),
        ("My boss told me that the accountant is a snake.", "My boss", "the accountant", None),
        ("Unless you apologize, I will tell everyone.", "I", "you", "will tell everyone"),
        ("Stay away or I will hurt you.", "I", "you", None),
        ("It was the chef who insulted the guests.", "the chef", "the guests", None),
        ("The director, who was drunk, insulted the actors.", "The director", "the actors", None),
        ("According to my uncle, teachers are lazy.", "my uncle", "teachers", "are lazy"),
        ("Peter is going to get punched by Paul.", "Paul", "Peter", None),
        (
            "The farmers and the hunters threatened the ranger.",
            "The farmers and the hunters",
            "the ranger",
            None,
        ),
        ("You don't deserve friends.", None, "You", None),
        ("She hopes the builders go broke.", "She", "the builders", None),
        ("A dumb driver.", None, "A dumb driver", None),
    ],
)
def test_who_does_what_to_whom(found, text, agent, target, said):
    answer = found(text)
    assert answer[:2] == (agent, target)
    if said is not None:
        assert answer[2] == said


def test_orders_and_sentences_without_a_verb():
    parser = load_parser()
    order = actors(parse(parser, "Get out of my garden.")[0], {})
    assert (order.agent, order.target, order.is_order) == (None, None, True)
    bare = actors(parse(parser, "Oh no, never, ever.")[0], {})
    assert (bare.agent, bare.said) == (None, None)


def test_roles_decide_which_argument_is_meant(found):
    text = "The crowd spoke of the winner."
    assert found(text)[1] == "The crowd"
    assert found(text, {2: {1: "ARG0", 5: "ARG1"}})[:2] == ("The crowd", "the winner")


def test_verbs_are_no_auxiliaries_and_no_modals():
    tree = parse(load_parser(), "He will have been a fool and was seen.")[0]
    assert [tree.words[verb] for verb in predicates(tree)] == ["been", "seen"]


def test_every_span_is_within_the_sentence_whatever_is_written(found):
    parser = load_parser()
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
        for tree in parse(parser, text):
            who = actors(tree, {})
            for bounds in (who.agent, who.target, who.said):
                assert bounds is None or tree.spans[0][0] <= bounds[0] < bounds[1] <= tree.spans[-1][1]


def test_a_tree_whose_heads_run_in_a_circle_ends():
    tree = Tree("a b", ((0, 1), (2, 3)), ("a", "b"), ("VERB", "NOUN"), ("VB", "NN"), (1, 0), ("conj", "obj"))
    assert list(tree.ancestors(0)) == [1, 0]
