"""Tests apps/code_index.py: what is indexed, resumed, found and clustered, and why."""

import json

import numpy as np
import pytest

from splinelens.apps.code_index import (
    MAX_CHARACTERS,
    CodeIndex,
    Embedder,
    find_functions,
    index_code,
    load_weights,
    named_functions,
)
from splinelens.errors import BadCode, BadFeatures, CannotResume, OutputExists, WrongModel
from splinelens.features.code_views import VIEWS

MEDIAN = """def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2
"""
SAME = MEDIAN.replace("ordered", "ranks").replace("def median", "def midpoint").replace("middle", "half")
GREET = 'def greet(name):\n    print(f"Good morning, {name}!")\n'
JAVA = "class A { int add(int a, int b) { return a + b; } }"


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    (folder / "below").mkdir(parents=True)
    (folder / "a.py").write_text(MEDIAN + GREET)
    (folder / "below" / "b.py").write_text(SAME)
    (folder / "below" / "A.java").write_text(JAVA)
    return folder


@pytest.fixture
def index(project, tmp_path):
    return index_code(project, tmp_path / "index.parquet", Embedder(None))


def many(folder, count):
    text = "".join(f"def f{number}(a):\n    return a + {number}\n" for number in range(count))
    (folder / "many.py").write_text(text)


def test_the_functions_of_all_languages_are_indexed_with_their_places(index):
    places = [function.place for function in index.functions]
    assert places == ["a.py:1 median", "a.py:7 greet", "below/A.java:1 A.add", "below/b.py:1 midpoint"]
    assert index.views == ("words", "structure")


def test_a_renamed_copy_is_the_most_similar_function(index, project):
    (wanted,) = named_functions(project / "a.py", "median")
    first, *others = index.similar([wanted])[0]
    assert first.function.name == "midpoint"
    assert first.score > 2 * max(match.score for match in others)
    assert first.cosines["structure"] == pytest.approx(1, abs=1e-5)
    assert first.reason == "structure"
    assert "values" in first.shared


def test_a_function_that_is_not_in_the_index_is_compared_too(index, tmp_path):
    new = tmp_path / "new.py"
    new.write_text(MEDIAN.replace("median", "centre"))
    (matches,) = index.similar(named_functions(new), top=2)
    assert [match.function.name for match in matches] == ["median", "midpoint"]
    assert matches[0].reason == "words"


def test_clusters_hold_the_copies_only_and_the_nearest_come_first(project, tmp_path):
    (project / "below" / "A.java").unlink()
    (project / "c.py").write_text(GREET + GREET.replace("greet", "hail"))
    clusters = index_code(project, tmp_path / "x.parquet", Embedder(None)).clusters()
    names = [sorted(each.name for each in cluster.functions) for cluster in clusters]
    assert names == [["greet", "greet", "hail"], ["median", "midpoint"]]
    assert clusters[0].score > clusters[1].score


def test_too_few_functions_make_no_cluster(index):
    with pytest.raises(BadFeatures, match=r"clusters of at least 5 need 5 to 10,000 functions"):
        index.clusters(min_size=5)


def test_a_stopped_run_continues_and_gives_the_same_index(project, tmp_path):
    many(project, 150)
    embedded = []

    class Counting(Embedder):
        def embed(self, texts, languages):
            embedded.extend(texts)
            return super().embed(texts, languages)

    def stop(done, total):
        if done:
            raise KeyboardInterrupt

    stopped, whole = tmp_path / "stopped.parquet", tmp_path / "whole.parquet"
    with pytest.raises(KeyboardInterrupt):
        index_code(project, stopped, Counting(None), progress=stop)
    assert len(embedded) == 128
    assert not stopped.exists()
    resumed = index_code(project, stopped, Counting(None))
    assert len(embedded) == len(resumed) == 154
    other = index_code(project, whole, Embedder(None))
    assert resumed.functions == other.functions
    wanted = named_functions(project / "a.py", "median")
    assert resumed.similar(wanted) == other.similar(wanted)


def test_a_finished_index_of_the_same_code_is_read(index, project):
    class Refusing(Embedder):
        def embed(self, texts, languages):
            raise AssertionError

    assert len(index_code(project, index.path, Refusing(None))) == len(index)
    (project / "a.py").write_text(GREET)
    with pytest.raises(OutputExists):
        index_code(project, index.path, Refusing(None))


def test_rows_of_other_code_are_not_mixed(project, tmp_path):
    many(project, 150)

    def stop(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_code(project, tmp_path / "x.parquet", Embedder(None), progress=stop)
    (project / "a.py").write_text(GREET)
    with pytest.raises(CannotResume, match="the texts are others"):
        index_code(project, tmp_path / "x.parquet", Embedder(None))


def test_the_encoder_adds_a_view_and_is_found_again(project, tmp_path, writer_folder):
    index = index_code(project, tmp_path / "x.parquet", Embedder(writer_folder()))
    assert index.views == ("words", "structure", "code")
    (tmp_path / "new.py").write_text(GREET.replace("morning", "evening"))
    (matches,) = index.similar(named_functions(tmp_path / "new.py"), top=1)
    assert matches[0].function.name == "greet"
    assert matches[0].cosines["code"] > 0.5


def test_an_encoder_that_has_changed_is_refused(project, tmp_path, writer_folder):
    index = index_code(project, tmp_path / "x.parquet", Embedder(writer_folder()))
    index.request["encoder"]["name"] = str(writer_folder("qwen2"))
    (tmp_path / "new.py").write_text("def new(): pass")
    with pytest.raises(WrongModel, match="another model than"):
        index.similar(named_functions(tmp_path / "new.py"))


def test_summaries_are_stored_and_compared(project, tmp_path, writer_folder):
    class Fixed:
        name = "fixed"

        def summarize(self, texts):
            return ["It finds the middle." if "// 2" in text else "" for text in texts]

    index = index_code(project, tmp_path / "x.parquet", Embedder(writer_folder(), summarizer=Fixed()))
    by_name = {function.name: function.summary for function in index.functions}
    assert by_name["median"] == by_name["midpoint"] == "It finds the middle."
    (matches,) = index.similar(named_functions(project / "a.py", "median"), top=3)
    assert [round(match.cosines["summary"], 3) for match in matches if not match.function.summary] == [0, 0]


def test_summaries_without_an_encoder_are_refused():
    with pytest.raises(BadFeatures, match="compared by the encoder"):
        Embedder(None, summarizer=object())


def test_what_cannot_be_read_is_named_with_its_reason(project):
    (project / "broken.py").write_text("def f(:\n")
    (project / "nul.py").write_bytes(b"def f(): pass\0")
    (project / "long.py").write_text(f"def f():\n    return '{'x' * MAX_CHARACTERS}'\n")
    found, left_out = find_functions(project)
    assert len(found) == 4
    assert set(left_out) == {"broken.py", "nul.py", "long.py:1 f"}
    assert "does not parse" in left_out["broken.py"]


def test_a_folder_without_functions_is_refused(tmp_path):
    with pytest.raises(BadCode, match="no function below"):
        index_code(tmp_path, tmp_path / "x.parquet", Embedder(None))


def test_a_file_that_is_no_index_is_refused(tmp_path):
    (tmp_path / "x.parquet").write_text("no Parquet")
    with pytest.raises(BadFeatures, match="no index of functions"):
        CodeIndex(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [("a.py", "mean", "has no function mean; it has median, greet"), ("a.txt", None, "of no language")],
)
def test_functions_that_are_not_there_are_refused(project, name, function, message):
    with pytest.raises(BadCode, match=message):
        named_functions(project / name, function)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_weights_are_learned_for_each_choice_of_views(count):
    weights = load_weights(VIEWS[:count])
    assert tuple(weights) == VIEWS[:count]
    assert all(view.weight >= 0 for view in weights.values())
    assert sum(view.weight for view in weights.values()) == pytest.approx(1, abs=0.01)


def test_views_without_weights_are_refused_before_anything_is_loaded():
    with pytest.raises(BadFeatures, match="no weights were learned for structure"):
        load_weights({"structure"})


def test_a_match_is_plain_json(index, project):
    (matches,) = index.similar(named_functions(project / "a.py", "median"), top=1)
    record = json.loads(json.dumps(matches[0].to_dict()))
    assert record["path"] == "below/b.py"
    assert "text" not in record
    assert np.isclose(record["score"], matches[0].score, atol=1e-4)
