"""Tests ``texts/function_words.py``: words of grammar, and none that a detector could be about."""

from splinelens.texts.function_words import function_words


def test_function_words_are_words_of_grammar_in_lower_case():
    words = function_words()
    assert {"the", "of", "you", "and", "not", "is", "don't"} <= words
    assert words.isdisjoint({"goose", "stupid", "women", "kill", "day", "#", ""})
    assert all(word == word.lower().strip() for word in words)
