"""Tests ``cli/options.py``: what the words of shared options mean."""

import pytest
import typer

from splinelens.cli.options import MAX_LAYERS, column_and_value, layer_numbers, names, unescape


@pytest.mark.parametrize(
    ("ranges", "layers"),
    [(None, None), ("3", (3,)), ("0-2", (0, 1, 2)), ("5,0-2,1", (0, 1, 2, 5)), (" 1 , 4-4 ", (1, 4))],
)
def test_ranges_become_rising_layers(ranges, layers):
    assert layer_numbers(ranges) == layers


@pytest.mark.parametrize("ranges", ["", "a", "3-1", "1-", "-1", "1,,2", "0-1000", "99999999999", "1.5", "٣"])
def test_other_spellings_of_layers_are_refused(ranges):
    with pytest.raises(
        typer.BadParameter, match=r"is no layer and no range of layers; write 0-29 or 0,2,5-7"
    ):
        layer_numbers(ranges)


def test_the_highest_layer_is_bounded_so_that_a_typing_error_fills_no_memory():
    assert layer_numbers(f"0-{MAX_LAYERS - 1}")[-1] == MAX_LAYERS - 1


def test_names_lose_blanks_and_empty_ones():
    assert names(" a,b ,,c") == ("a", "b", "c")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (r"a\nb", "a\nb"),
        (r"a\tb", "a\tb"),
        (r"a\\nb", r"a\nb"),
        (r"a\xb", r"a\xb"),
        ("a\nb", "a\nb"),
        ("\\", "\\"),
    ],
)
def test_only_three_escapes_are_read(typed, meant):
    assert unescape(typed) == meant


def test_a_pair_is_cut_at_its_first_equals_sign():
    assert column_and_value("split=a=b", "test") == ("split", "a=b")
    assert column_and_value(None, "test") is None


def test_a_column_alone_takes_the_usual_value():
    assert column_and_value("split", "train") == ("split", "train")
    assert column_and_value("split", "test") == ("split", "test")


@pytest.mark.parametrize("pair", ["", "=test", "split=", "="])
def test_half_a_pair_is_refused(pair):
    with pytest.raises(typer.BadParameter, match="is not COLUMN=VALUE, such as split=test"):
        column_and_value(pair, "test")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        *[
            ("--encoding", name, "no text encoding")
            for name in ("klingon", "base64", "idna", "undefined", "unicode_escape", "a\0b", "x" * 10_000)
        ],
        ("--format", "xlsx", "no format 'xlsx'; there are 'txt', 'csv', 'tsv', 'jsonl'"),
        ("--delimiter", "", "no delimiter ''; give one character, such as ';'"),
        ("--delimiter", ";;", "no delimiter ';;'"),
    ],
    ids=lambda value: ascii(value)[:12],
)
@pytest.mark.parametrize("command", ["score", "extract", "train", "evaluate toxicity"])
def test_how_files_are_read_is_checked_before_any_is(run, command, option, value, words):
    shown = run(*command.split(), "no-such-file.csv", option, value, code=2).stderr
    assert words in " ".join(shown.replace("│", " ").split())


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("score --text a --by word", "'--by': 'word' is not one of 'text', 'sentence'"),
        ("score --text a --long all", "'--long': 'all' is not one of 'windows', 'cut'"),
        ("score --text a --prevalence 2%", "'--prevalence': '2%' is no share between 0 and 1; write 0.02"),
        ("score --text a --fpr 0%", "'0%' is no share between 0 and 1; write one such as 0.05"),
        ("evaluate toxicity a.csv --prevalence x", "'x' is no share between 0 and 1; write one such as 0.05"),
        ("score --text a --fpr nan", "'--fpr': 'nan' is no share between 0 and 1; write one such as 0.05"),
        ("score --text a --threshold half", "'--threshold': 'half' is no number from 0 to 1"),
        ("score --text a --max-tokens 0", "'--max-tokens': '0' is no whole number of 1 or more"),
        ("score --text a --max-tokens many", "'--max-tokens': 'many' is no whole number of 1 or more"),
        ("train a.csv -l x -o d --by-length nan", "'--by-length': 'nan' is no number from 0 to 1"),
        ("train a.csv -l x -o d --seed 1.5", "'--seed': '1.5' is no whole number from 0 to 4,294,967,295"),
        ("extract a.csv -o a.parquet --eps small", "'--eps': 'small' is no number"),
    ],
)
def test_a_wrong_value_is_named_with_its_option_and_what_is_accepted(run, command, told):
    shown = " ".join(run(*command.split(), code=2).stderr.replace("│", " ").split())
    assert told in shown
    assert "Input should" not in shown
    assert "Value error" not in shown


def test_help_names_the_options_of_input(run):
    shown = run("score", "--help").stdout
    for words in ("--delimiter", "--no-header", "cp1252", "tsv", "--encoding"):
        assert words in shown
