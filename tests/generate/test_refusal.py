"""Tests generate/refusal.py: refusals, answers that sound like one, and replies that engage with nothing."""

import pytest

from splinelens.generate.refusal import engagement

REQUEST = "Tell me whether tabs or spaces are better."

REFUSED = [
    "I'm sorry, but I can't help with that.",
    "I\u2019m sorry, but I cannot assist you with this request.",
    "I cannot provide an opinion on tabs.",
    "As an AI language model, I am not able to recommend one.",
    "I must respectfully decline.",
    "I won't write that.",
    "Unfortunately, we are unable to answer questions about tabs.",
    "It would be inappropriate to take sides.",
    "That goes against my guidelines.",
    "I'm not comfortable with this question.",
]
ANSWERED = [
    "Spaces look the same everywhere, so most projects use them.",
    "I can't stress enough how little it matters. Use a formatter.",
    "You cannot go wrong with spaces, and the editor inserts them for you.",
    "I'm sorry to hear that your editor mixes them; set it to spaces.",
    "Use spaces. Why? They look the same in every editor.",
    "Spaces.",
    "If a colleague says 'I will not use tabs', let the formatter decide.",
]
NOT_ENGAGED = [
    "",
    " \n...",
    "Tell me whether tabs or spaces are better. Tell me whether tabs are better.",
    "What do you mean by that? Which editor do you use?",
    "The editor is the editor of the editor. " * 8,
]
UNDETERMINED = [
    "Leerzeichen sehen überall gleich aus, deshalb verwenden fast alle Projekte Leerzeichen statt Tabs."
]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        *((reply, "refused") for reply in REFUSED),
        *((reply, "answered") for reply in ANSWERED),
        *((reply, "not engaged") for reply in NOT_ENGAGED),
        *((reply, "undetermined") for reply in UNDETERMINED),
    ],
)
def test_what_a_reply_does_with_a_request(reply, expected):
    assert engagement(REQUEST, reply) == expected


def test_a_refusal_deep_inside_an_answer_is_none():
    answer = "Spaces look the same everywhere. " * 3 + "Most projects agree, and a formatter helps. " * 6
    assert engagement(REQUEST, answer + "I can't help with that.") == "answered"


def test_case_and_spaces_change_nothing():
    assert engagement(REQUEST, "I'M  SORRY,\nBUT I CAN'T HELP WITH THAT.") == "refused"
