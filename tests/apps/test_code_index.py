"""Tests apps/code_index.py: what is indexed, resumed, found and clustered, and why."""

import json
import shutil
import signal
import subprocess
import sys
from itertools import combinations

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.linalg

from splinelens import extract
from splinelens.apps.code_index import (
    GEOMETRY_LAYERS,
    MAX_CHARACTERS,
    CodeIndex,
    Embedder,
    find_functions,
    index_code,
    load_fusion,
    named_functions,
)
from splinelens.errors import BadCode, BadFeatures, BadModel, CannotResume, OutputExists, WrongModel
from splinelens.features.code_views import SPARSE, VIEWS
from splinelens.features.sentence_encoder import SentenceEncoder

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
KILLED = """
import os, signal, sys
from splinelens.apps.code_index import Embedder, index_code

class Killed(Embedder):
    rows = 0

    def embed(self, texts, languages):
        self.rows += len(texts)
        if self.rows > 300:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed(texts, languages)

index_code(sys.argv[1], sys.argv[2], Killed(None))
"""


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


def similar(index, path, name=None, **more):
    """What the index answers for the functions of a file."""
    queries = named_functions(path, name)
    return index.similar([query.text for query in queries], [query.language for query in queries], **more)


def whitened_cosines(vectors):
    """Of the first row with each other, by the covariance of the whole, a tenth of its mean added."""
    centered = vectors - vectors.mean(axis=0)
    covariance = centered.T @ centered / len(centered)
    ridge = 0.1 * np.trace(covariance) / len(covariance)
    white = centered @ np.linalg.inv(scipy.linalg.sqrtm(covariance + ridge * np.eye(len(covariance))).real)
    return white[1:] @ white[0] / np.linalg.norm(white[1:], axis=1) / np.linalg.norm(white[0])


def many(folder, count):
    text = "".join(f"def f{number}(a):\n    return a + {number}\n" for number in range(count))
    (folder / "many.py").write_text(text)


def test_the_functions_of_all_languages_are_indexed_with_their_places(index):
    locations = [function.location for function in index.functions]
    assert locations == ["a.py:1 median", "a.py:7 greet", "below/A.java:1 A.add", "below/b.py:1 midpoint"]
    assert index.views == SPARSE


def test_a_renamed_copy_is_the_most_similar_function(index, project):
    first, *others = similar(index, project / "a.py", "median")[0]
    assert first.function.name == "midpoint"
    assert first.score > 2 * max(match.score for match in others)
    assert first.cosines["structure"] == pytest.approx(1, abs=1e-5)
    assert first.reason == "structure"
    assert set(first.shared) == {"values", "sorted", "len"}  # no keywords
    assert first.rank_score < first.score


def test_words_that_are_keywords_in_one_language_are_words_in_another(tmp_path):
    (tmp_path / "a.py").write_text("def f(self, new): return new.package\n")
    (tmp_path / "b.py").write_text("def g(self, new): return [new.package, self.other]\n")
    index = index_code(tmp_path, tmp_path / "x.parquet", Embedder(None))
    ((match,),) = similar(index, tmp_path / "a.py")
    assert sorted(match.shared) == ["new", "package"]


def test_a_function_that_is_not_in_the_index_is_compared_too(index, tmp_path):
    new = tmp_path / "new.py"
    new.write_text(MEDIAN.replace("median", "centre"))
    (matches,) = similar(index, new, top=2)
    assert [match.function.name for match in matches] == ["median", "midpoint"]
    assert matches[0].reason == "structure"
    assert matches[0].shared[:2] == ("middle", "ordered")


def test_known_and_new_functions_are_answered_in_their_order(index, project, tmp_path):
    new = tmp_path / "new.py"
    new.write_text(GREET.replace("greet", "hail") + MEDIAN + SAME.replace("half", "center"))
    answers = similar(index, new, top=1)
    assert [matches[0].function.name for matches in answers] == ["greet", "midpoint", "midpoint"]
    assert answers[1] == similar(index, project / "a.py", "median", top=1)[0]
    assert index.similar([], []) == []


def test_all_others_are_returned_where_more_are_requested(index, project):
    (matches,) = similar(index, project / "a.py", "median", top=100)
    assert sorted(match.function.name for match in matches) == ["A.add", "greet", "midpoint"]


def test_an_index_of_one_function_answers(tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "a.py").write_text(MEDIAN)
    (tmp_path / "b.py").write_text(SAME)
    index = index_code(folder, tmp_path / "one.parquet", Embedder(None))
    assert similar(index, folder / "a.py") == [[]]
    (matches,) = similar(index, tmp_path / "b.py")
    assert [match.function.name for match in matches] == ["median"]
    with pytest.raises(BadFeatures, match="has 1; index another folder"):
        index.clusters()


def test_an_index_without_functions_is_refused(index, tmp_path):
    pq.write_table(pq.read_table(index.path).slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(BadFeatures, match="has no functions"):
        CodeIndex(tmp_path / "empty.parquet")


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
    with pytest.raises(BadFeatures, match=r"unfinished: 128 of 154 functions; .* which continues"):
        CodeIndex(stopped)
    resumed = index_code(project, stopped, Counting(None))
    assert len(embedded) == len(resumed) == 154
    other = index_code(project, whole, Embedder(None))
    assert resumed.functions == other.functions
    assert similar(resumed, project / "a.py") == similar(other, project / "a.py")


def test_a_run_that_was_killed_continues_to_the_same_file(project, tmp_path):
    many(project, 600)
    killed, whole = tmp_path / "killed.parquet", tmp_path / "whole.parquet"
    process = subprocess.run([sys.executable, "-c", KILLED, project, killed], check=False)
    assert process.returncode == -signal.SIGKILL
    assert not killed.exists()
    before = []
    index_code(project, killed, Embedder(None), progress=lambda done, total: before.append(done))
    assert before[0] == 256
    index_code(project, whole, Embedder(None))
    assert killed.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.parts"))


def test_a_finished_index_of_the_same_code_is_read(index, project):
    class Refusing(Embedder):
        def embed(self, texts, languages):
            raise AssertionError

    assert len(index_code(project, index.path, Refusing(None))) == len(index)
    (project / "a.py").write_text(GREET)
    with pytest.raises(OutputExists, match="the functions changed since it was written; --overwrite"):
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
    assert index.views == (*SPARSE, "code")
    (matches,) = similar(index, project / "a.py", "greet")
    texts = [GREET.rstrip(), *(match.function.text for match in matches)]
    expected = whitened_cosines(SentenceEncoder(writer_folder()).encode(texts))
    assert [match.cosines["code"] for match in matches] == pytest.approx(expected, abs=0.01)  # half precision
    (tmp_path / "new.py").write_text(GREET + "\n\n" + GREET.replace("greet", "hail"))
    known, new = similar(index, tmp_path / "new.py", top=1)
    assert known[0].function.name != new[0].function.name == "greet"


def test_an_encoder_that_has_changed_is_refused(project, tmp_path, writer_folder):
    model = tmp_path / "model"
    shutil.copytree(writer_folder(), model)
    index = index_code(project, tmp_path / "x.parquet", Embedder(model))
    shutil.rmtree(model)
    shutil.copytree(writer_folder("qwen2"), model)
    (tmp_path / "new.py").write_text("def new(): pass")
    with pytest.raises(WrongModel, match=r"is another model than .*x\.parquet was made with; index again"):
        similar(index, tmp_path / "new.py")
    with pytest.raises(OutputExists):
        index_code(project, tmp_path / "x.parquet", Embedder(model))
    assert len(similar(index, project / "a.py")) == 2  # looked up, without the encoder


def test_geometry_adds_the_margins_of_two_layers(project, tmp_path, writer_folder):
    import transformers

    model = tmp_path / "model"
    shutil.copytree(writer_folder(), model)
    config = transformers.AutoConfig.from_pretrained(model, num_hidden_layers=max(GEOMETRY_LAYERS) + 1)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(model)
    index = index_code(project, tmp_path / "x.parquet", Embedder(None, geometry=model))
    assert index.views == (*SPARSE, "geometry")
    (matches,) = similar(index, project / "a.py", "greet")
    texts = [GREET.rstrip(), *(match.function.text for match in matches)]
    reads = {"features": "margins", "pooling": ("max", "mean"), "layers": GEOMETRY_LAYERS}
    expected = whitened_cosines(extract(texts, model, **reads).values)
    assert [match.cosines["geometry"] for match in matches] == pytest.approx(expected, abs=0.01)


def test_summaries_are_stored_and_compared(project, tmp_path, writer_folder):
    def write(prompt):
        return "It finds the middle. It sorts first." if "// 2" in prompt else ""

    embedder = Embedder(writer_folder(), write=write, summary_model="fixed")
    index = index_code(project, tmp_path / "x.parquet", embedder)
    assert index.record["summaries"] == "fixed"
    by_name = {function.name: function.summary for function in index.functions}
    assert by_name["median"] == by_name["midpoint"] == "It finds the middle."
    (matches,) = similar(index, project / "a.py", "median", top=3)
    assert [round(match.cosines["summary"], 3) for match in matches if not match.function.summary] == [0, 0]


def test_a_missing_encoder_names_the_option():
    with pytest.raises(BadModel, match=r"--encoder FOLDER .* --encoder none leaves it out"):
        Embedder("missing/encoder")


def test_summaries_without_an_encoder_are_refused():
    with pytest.raises(BadFeatures, match="compared by the encoder"):
        Embedder(None, write=str)


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


def test_an_index_of_another_version_is_refused(index):
    record = json.dumps(index.record | {"format": 1, "splinelens": "0.0.9"})
    pq.write_table(pq.read_table(index.path).replace_schema_metadata({"splinelens": record}), index.path)
    with pytest.raises(BadFeatures, match=r"format 1, by splinelens 0\.0\.9; .* write it again"):
        CodeIndex(index.path)


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [("a.py", "mean", "has no function mean; it has median, greet"), ("a.txt", None, "of no language")],
)
def test_functions_that_are_not_there_are_refused(project, name, function, message):
    with pytest.raises(BadCode, match=message):
        named_functions(project / name, function)


def test_weights_are_learned_for_each_choice_of_views():
    for count in range(4):
        for chosen in combinations(("code", "summary", "geometry"), count):
            if "summary" in chosen and "code" not in chosen:
                continue
            fusion = load_fusion({*SPARSE, *chosen})
            assert list(fusion.weights) == list(fusion.baselines) == [*SPARSE, *chosen]
            assert all(0 <= weight <= 1 for weight in fusion.weights.values())
            assert sum(fusion.weights.values()) == pytest.approx(1, abs=0.001)
    assert (*SPARSE, "code", "summary", "geometry") == VIEWS


def test_views_without_weights_are_refused_before_anything_is_loaded():
    with pytest.raises(BadFeatures, match="no weights were learned for structure"):
        load_fusion({"structure"})


def test_a_match_is_plain_json(index, project):
    (matches,) = similar(index, project / "a.py", "median", top=1)
    record = json.loads(json.dumps(matches[0].to_dict()))
    assert record["path"] == "below/b.py"
    assert "text" not in record
    assert np.isclose(record["score"], matches[0].score, atol=1e-4)
