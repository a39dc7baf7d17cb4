"""Tests ``generate/critics.py``: what each critic says, and where, by hand."""

import builtins
from pathlib import Path

import numpy as np
import pytest

from splinelens.errors import BadCritic, MissingPackage
from splinelens.generate.critics import Check, CodeCritic, Critic, Finding, JsonSchema, Length, Pattern
from splinelens.generate.loop import solve
from splinelens.texts.code import SourceFile
from splinelens.texts.code_findings import Surroundings
from splinelens.texts.retrieval import CodeProject

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "ages": {"type": "array", "items": {"minimum": 0}}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"verdict": "PASS"}, "verdict='PASS'"),
        ({"verdict": True}, "verdict=True"),
        ({"verdict": "pass", "score": 1.5}, "score=1.5"),
        ({"verdict": "pass", "score": float("nan")}, "score=nan"),
        ({"verdict": "fail", "message": None}, "message=None"),
    ],
)
def test_a_finding_that_cannot_be_is_refused(values, message):
    with pytest.raises(BadCritic, match=message):
        Finding(**values)


@pytest.mark.parametrize("critic", [Length(most=1), Pattern("x"), JsonSchema(True), Check(str)])
def test_each_is_a_critic_and_hard_unless_said_otherwise(critic):
    assert isinstance(critic, Critic)
    assert critic.hard
    assert not type(critic)(*_arguments(critic), hard=False).hard


def test_length_counts_words_and_marks_what_is_too_much():
    assert Length(2, 3).check("one two", "").verdict == "pass"
    assert Length(2).check("one", "").message == "the answer has 1 words; write at least 2"
    finding = Length(most=2).check(" one\ntwo three four ", "")
    assert (finding.verdict, finding.spans) == ("fail", ((9, 20),))


def test_length_counts_characters_and_every_kind_of_them():
    assert Length(4, 4, "characters").check("a\n😀 ", "").verdict == "pass"
    assert Length(most=2, unit="characters").check("abcd", "").spans == ((2, 4),)
    assert Length(1).check("", "").verdict == "fail"


@pytest.mark.parametrize(
    "limits", [{}, {"least": 3, "most": 2}, {"least": -1}, {"most": 3, "unit": "tokens"}]
)
def test_limits_that_no_text_can_keep_are_refused(limits):
    with pytest.raises(BadCritic, match=r"limit|no text|unit"):
        Length(**limits)


def test_a_pattern_must_occur_or_must_not():
    assert Pattern("[0-9]+").check("at 10", "").verdict == "pass"
    assert Pattern("[0-9]+").check("at ten", "").message == "the answer must match the pattern [0-9]+"
    finding = Pattern("(?i)maybe", occurs=False).check("Maybe, maybe, Maybe.", "")
    assert finding.message == 'the answer must not contain "Maybe", "maybe"'
    assert finding.spans == ((0, 5), (7, 12), (14, 19))
    assert Pattern("x", message="write x").check("", "").message == "write x"


def test_a_pattern_that_cannot_be_compiled_is_refused():
    with pytest.raises(BadCritic, match=r"the pattern '\(' cannot be compiled"):
        Pattern("(")


def test_a_pattern_that_takes_too_long_is_undetermined():
    finding = Pattern("^(a|aa|b?a)+$").check("a" * 60 + "c", "")
    assert (finding.verdict, finding.message) == ("undetermined", "the pattern takes more than 1 s")


def test_json_is_validated_as_it_is_or_in_its_single_fenced_block():
    critic = JsonSchema(SCHEMA)
    valid = '{"name": "Ann", "ages": [3]}'
    assert critic.check(valid, "").verdict == "pass"
    assert critic.check(f"Here it is:\n```json\n{valid}\n```\nDone.", "").verdict == "pass"
    assert critic.check(f"Here it is: {valid}", "").verdict == "fail"
    assert critic.check(f"```\n{valid}\n```\n```\n{valid}\n```", "").verdict == "fail"


def test_the_message_names_the_path_and_the_rule():
    finding = JsonSchema(SCHEMA).check('{"ages": [1, -2], "size": 3}', "")
    assert "at $.ages[1] (minimum): -2 is less than the minimum of 0" in finding.message
    assert "(required): 'name' is a required property" in finding.message
    assert "(additionalProperties): " in finding.message


@pytest.mark.parametrize("text", ["", "no", "[1,", "NaN", '{"name": Infinity}', "[" * 100_000, "9" * 5_000])
def test_what_is_no_json_fails(text):
    finding = JsonSchema(True).check(text, "")
    assert finding.verdict == "fail"
    assert finding.message.startswith("the answer must be JSON and nothing else: ")


def test_a_schema_that_is_none_is_refused():
    with pytest.raises(BadCritic, match="no valid JSON schema: 'list' is not valid"):
        JsonSchema({"type": "list"})


def test_no_reference_of_a_schema_is_fetched():
    finding = JsonSchema({"$ref": "http://localhost:9/schema.json"}).check("{}", "")
    assert finding.verdict == "undetermined"
    assert "leads nowhere" in finding.message


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    _hide(monkeypatch, "jsonschema")
    with pytest.raises(MissingPackage, match=r"pip install 'splinelens\[generate\]'"):
        JsonSchema({})


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (True, Finding("pass")),
        (np.bool_(False), Finding("fail", message="the answer does not pass mine")),
        ("", Finding("pass")),
        ("too cold", Finding("fail", message="too cold")),
        (0.5, Finding("pass", 0.5)),
        (np.float32(0.25), Finding("fail", 0.25, "the answer does not pass mine")),
        (Finding("undetermined"), Finding("undetermined")),
    ],
)
def test_a_function_says_it_with_a_bool_a_text_a_number_or_a_finding(result, expected):
    assert Check(lambda text: result, name="mine").check("a text", "") == expected


@pytest.mark.parametrize("result", [None, [], 2.0, float("nan")])
def test_what_a_function_may_not_return_is_refused(result):
    with pytest.raises(BadCritic, match=r"mine returns|score="):
        Check(lambda text: result, name="mine").check("a text", "")


def test_a_function_gives_its_name():
    def polite(text):
        return "please" in text

    assert Check(polite).name == "polite"


def _arguments(critic):
    return {"length": (1,), "pattern": ("x",), "json-schema": (True,)}.get(critic.name, (str,))


def _hide(monkeypatch, package):
    real = builtins.__import__

    def hidden(name, *rest, **named):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", hidden)


def test_code_that_uses_what_does_not_exist_fails_with_what_may_be_meant():
    answer = "Here it is:\n```python\ndef area(width, height):\n    return width * hight\n```\n"
    finding = CodeCritic().check(answer, "")
    assert finding.message == "line 2: the name 'hight' is not defined; you may mean height"
    ((start, end),) = finding.spans
    assert answer[start:end] == "    return width * hight\n"


def test_code_is_judged_in_its_file_and_with_its_project():
    project = CodeProject([SourceFile("tools.py", "python", "def load_all(path): ...")])
    critic = CodeCritic(Surroundings("LIMIT = 1\n<PLACEHOLDER>\n", project))
    assert critic.check("def f():\n    return LIMIT", "").verdict == "pass"
    assert "load_all in tools.py:1" in critic.check("def f():\n    return load_all(LIMIT)", "").message


@pytest.mark.parametrize(
    ("around", "words"),
    [
        (".", r"around='\.': give Surroundings"),
        (Surroundings(project="."), r"project='\.': give CodeProject\.read\(folder\)"),
        (Surroundings(Path("a.py")), r"context=.*Path\('a\.py'\): give the text of the file"),
    ],
)
def test_surroundings_of_a_wrong_type_are_refused_before_a_model_is_asked(around, words):
    with pytest.raises(BadCritic, match=words):
        CodeCritic(around)


def test_similar_code_of_the_project_is_shown_in_at_most_half_the_length_of_the_prompt():
    project = CodeProject([SourceFile("tools.py", "python", "def save_all(path): ...")])
    critic = CodeCritic(Surroundings(project=project), show_code=True)
    answer = "def f(path):\n    return write_all(path)"
    comments = "# tools.py, line 1:\n# def save_all(path): ...\n"
    assert critic.check(answer, "p" * 2 * len(comments)).message.endswith(comments)
    assert comments not in critic.check(answer, "p" * (2 * len(comments) - 1)).message


def test_a_line_of_code_also_ends_at_a_carriage_return():
    finding = CodeCritic().check("x = 1\rprint(undefd)\r", "")
    assert finding.spans == ((6, 20),)


def test_code_that_cannot_be_resolved_is_undetermined_and_doubts_pass():
    assert CodeCritic().check("import not_installed_here", "").verdict == "undetermined"
    assert CodeCritic().check("def f(a): pass", "").verdict == "pass"


def test_a_generator_is_asked_again_with_what_does_not_exist():
    answers = ["def f(x):\n    return y", "def f(x):\n    return x"]
    prompts = []

    def generator(prompt, attempt):
        prompts.append(prompt)
        return answers[attempt - 1]

    assert solve(generator, [CodeCritic()], "Write f.").text == answers[1]
    assert "line 2: the name 'y' is not defined" in prompts[1]


def test_imports_above_the_function_of_an_answer_belong_to_the_file():
    critic = CodeCritic(Surroundings("class Clock:\n    <PLACEHOLDER>\n"))
    answer = "{}\ndef tick(self):\n    return timedelta(days=1)\n"
    assert critic.check(answer.format("from datetime import timedelta\n"), "").verdict == "pass"
    assert critic.check(answer.format(""), "").message == "line 3: the name 'timedelta' is not defined"
