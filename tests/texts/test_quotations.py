"""Tests ``texts/quotations.py``: quotations and their speakers, by hand."""

from splinelens.texts.quotations import quotations, with_speakers


def test_quotations():
    assert quotations("no quotes") == []
    assert quotations('a 20" screen, a 6\'2" man') == []
    assert quotations('"Go.\nHe went.') == [(1, 4)]
    assert quotations("\u201cGo.\u201d he said, \u201cnow") == [(1, 4), (16, 19)]


def test_speakers_by_hand():
    text = 'Ann left. Tom said: "You fool. Go." I sat.'
    sentences = [(0, 9), (10, 30), (31, 35), (36, 42)]
    agents = [(0, 3), (10, 13), None, (36, 37)]
    assert with_speakers(text, sentences, agents) == [(0, 3), (10, 13), (10, 13), (36, 37)]


def test_a_speaker_before_or_after_the_quotation():
    text = 'He said:\n"Go. Run."'
    assert with_speakers(text, [(0, 8), (9, 13), (14, 19)], [(0, 2), None, None]) == [(0, 2)] * 3
    text = '"Go. Run," he said.'
    assert with_speakers(text, [(0, 4), (5, 19)], [None, (11, 13)]) == [(11, 13)] * 2


def test_who_speaks_within_a_quotation_is_no_speaker_of_it():
    text = '"I go. You fool."'
    assert with_speakers(text, [(0, 6), (7, 17)], [(1, 2), None]) == [(1, 2), None]
