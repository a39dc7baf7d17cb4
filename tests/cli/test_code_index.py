"""Tests ``splinelens code index``, ``similar`` and ``clusters``: what is printed, written and refused."""

import json

import pytest

from splinelens.cli import options
from splinelens.features.sentence_encoder import ALL_MINILM

CODE = """def first(items):
    for item in items:
        if item:
            return item
    return None


def earliest(values):
    for value in values:
        if value:
            return value
    return None


def shout(word):
    print(word.upper() + "!")


def cry(name):
    print(name.upper() + "!")
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text(CODE)
    (tmp_path / "src" / "broken.py").write_text("def f(:")
    return tmp_path / "src"


@pytest.fixture
def index(run, project, tmp_path):
    run("code", "index", project, "-o", tmp_path / "i.parquet", "--encoder", "none")
    return tmp_path / "i.parquet"


def test_an_index_says_what_it_holds_and_what_not(run, project, tmp_path):
    command = ("code", "index", project, "-o", tmp_path / "i.parquet", "--encoder", "none")
    result = run(*command)
    assert "4 functions by words, terms, structure; 1 places left out" in result.stdout
    assert "left out broken.py: line 1 does not parse" in result.stderr
    assert "wrote " in result.stdout
    assert "unchanged: " in run(*command).stdout
    record = json.loads(run(*command, "--json").stdout)
    assert record["functions"] == 4
    assert list(record["left_out"]) == ["broken.py"]


def test_similar_names_place_score_and_reason(run, project, index):
    lines = run("code", "similar", project / "a.py", "-i", index, "--function", "first").stdout.splitlines()
    assert lines[0].endswith("a.py:1 first")
    assert lines[1].endswith("  a.py:8 earliest  same structure")
    command = ("code", "similar", project / "a.py", "-i", index, "--top", 1, "--json")
    records = [json.loads(line) for line in run(*command).stdout.splitlines()]
    assert [record["function"] for record in records] == ["first", "earliest", "shout", "cry"]
    assert records[1]["similar"][0]["name"] == "first"
    assert records[1]["similar"][0]["shared"] == []  # keywords only
    assert records[2]["similar"][0]["shared"] == ["print", "upper"]


def test_similar_prints_the_number_that_ranks_in_falling_order(run, project, index):
    for function in ("first", "earliest", "shout", "cry"):
        command = ("code", "similar", project / "a.py", "-i", index, "--function", function)
        printed = [float(line.split()[0]) for line in run(*command).stdout.splitlines()[1:]]
        assert printed == sorted(printed, reverse=True)
        (record,) = [json.loads(line) for line in run(*command, "--json").stdout.splitlines()]
        assert [round(match["rank_score"], 2) for match in record["similar"]] == pytest.approx(
            printed, abs=0.01
        )


def test_clusters_are_printed_and_drawn(run, index, tmp_path):
    page = tmp_path / "page.html"
    result = run("code", "clusters", "-i", index, "-o", page)
    assert "2 functions  same structure" in result.stdout
    assert result.stdout.splitlines()[-1] == "2 clusters of 4 functions"
    html = page.read_text()
    assert "Functions that may mean the same" in html
    assert '"dtick":1' in html.replace(" ", "")
    assert "a.py:8 earliest" in html
    assert "for value in values:" in html
    records = [*map(json.loads, run("code", "clusters", "-i", index, "--json").stdout.splitlines())]
    names = [[function["name"] for function in record["functions"]] for record in records]
    assert sorted(names) == [["first", "earliest"], ["shout", "cry"]]


def test_a_page_shows_code_as_text(run, project, tmp_path):
    copies = 'def f():\n\treturn "<script>alert(1)</script>\u202e"\n'
    for name in ("b.py", "c.py"):
        (project / name).write_text(copies)
    run("code", "index", project, "-o", tmp_path / "j.parquet", "--encoder", "none")
    run("code", "clusters", "-i", tmp_path / "j.parquet", "-o", tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert "    return &#34;&lt;script&gt;alert(1)&lt;/script&gt;⟨202E⟩&#34;" in html


def test_the_default_encoder_is_that_of_the_features():
    assert options.SENTENCE_ENCODER == ALL_MINILM


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("index", ".", "--url", "http://host"), 2, "name the model there"),
        (("similar", "missing.py", "-i", "i.parquet"), 1, "missing.py is no file"),
        (("clusters", "-i", "missing.parquet"), 1, "no index of functions"),
        (("clusters", "-o", "page.txt"), 2, "does not end in .html"),
    ],
)
def test_wrong_use_is_refused(run, arguments, code, message):
    assert message in " ".join(run("code", *arguments, code=code).stderr.split())
