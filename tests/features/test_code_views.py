"""Tests features/code_views.py: what each view sees of a function, and what an index decides."""

import numpy as np
import pytest

from splinelens.features.code_views import (
    HASHED,
    CodeSpace,
    cosines,
    less_hubness,
    mean_of_nearest,
    nearness,
    read_views,
    structure_counts,
    term_counts,
    terms,
    view_columns,
    word_counts,
)

ADD = "def add(a, b):\n    return a + b\n"
SUM = "def total(x, y):\n    return x + y  # both\n"
LOOP = "def loop(a):\n    for b in a:\n        print(b)\n"


def unit(vectors, languages):
    return CodeSpace(vectors, languages).unit_vectors(vectors, languages)


def only(cosines):
    """The score of a single view."""
    (values,) = cosines.values()
    return values


def test_names_and_comments_are_no_structure():
    counts = structure_counts([ADD, SUM, LOOP], ["python"] * 3).toarray()
    assert (counts[0] == counts[1]).all()
    assert (counts[0] != counts[2]).any()


def test_a_row_of_counts_depends_on_its_function_only():
    for count in (word_counts, term_counts):
        assert (count([ADD, LOOP]).toarray()[1] == count([LOOP]).toarray()[0]).all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("getHTTPResponse2xx", ["get", "http", "response", "2", "xx"]),
        ("_max_len += x[-1]", ["_", "max", "_", "len", "+=", "x", "[-", "1", "]"]),
        ("ABc aBC A", ["a", "bc", "a", "bc", "a"]),
        ("é = naïve", ["é", "=", "na", "ï", "ve"]),
        (" \n\t", []),
    ],
)
def test_terms_are_words_numbers_and_signs(text, expected):
    assert terms(text) == expected
    assert "".join(terms(text)) == "".join(text.split()).lower()


def test_terms_are_counted_with_those_that_follow():
    counts = term_counts(["a b a b", ""]).toarray()
    assert sorted(counts[0][counts[0] > 0]) == [1, 1, 1, 2, 2, 2]  # ba, aba, bab; a, b, ab
    assert not counts[1].any()


def test_a_name_in_another_style_has_the_same_words():
    vectors = {"terms": term_counts(["maxValue", "MaxValue", "max value", "least"])}
    values = only(cosines(*[unit(vectors, ["python"] * 4)] * 2))
    assert values[0, :3] == pytest.approx(1)
    assert values[0, 3] == 0


def test_equal_functions_have_cosine_one_and_different_ones_less():
    vectors = {"words": word_counts([ADD, ADD, LOOP])}
    values = cosines(*[unit(vectors, ["python"] * 3)] * 2)["words"]
    assert values[0, 1] == pytest.approx(1, abs=1e-6)
    assert values[0, 2] < 0.5


def test_what_a_language_has_in_common_does_not_count():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=(25, 4)), 2, axis=0) + 20 * np.tile([[1.0], [-1.0]], (25, 4))
    space = unit({"code": values}, ["python", "java"] * 25)
    assert cosines(space, space)["code"][0, 1] > 0.9  # the same function in the other language


def test_a_function_without_a_vector_is_similar_to_nothing():
    values = np.random.default_rng(0).normal(size=(30, 4))
    values[3] = 0
    space = unit({"code": values}, ["python"] * 30)
    assert not cosines(space, space)["code"][3].any()


def test_few_functions_can_be_whitened():
    values = np.random.default_rng(0).normal(size=(2, 100))
    assert np.isfinite(unit({"code": values}, ["python"] * 2)["code"]).all()


def test_cosines_of_sparse_and_dense_views_are_products():
    rng = np.random.default_rng(0)
    left = {"words": word_counts([ADD, LOOP]), "code": rng.normal(size=(2, 4)), "summary": np.ones((2, 1))}
    right = {"words": word_counts([SUM, ADD, LOOP]), "code": rng.normal(size=(3, 4))}
    result = cosines(left, right)
    assert set(result) == {"words", "code"}
    dense = left["words"].toarray() @ right["words"].toarray().T
    assert (result["words"] == dense).all()
    assert result["code"] == pytest.approx(left["code"] @ right["code"].T)


def test_a_function_that_is_near_to_all_is_a_hub():
    rng = np.random.default_rng(0)
    values = np.concatenate([np.eye(20), np.full((1, 20), 20**-0.5)]) + 1e-6 * rng.normal(size=(21, 20))
    assert nearness({"code": values}, only).argmax() == 20


@pytest.mark.parametrize("rows", [1, 2, 7, 11, 2100])
def test_nearness_is_the_mean_of_the_nearest_others(rows):
    values = np.random.default_rng(0).normal(size=(rows, 3))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    result = nearness({"code": values}, only, seed=1)
    chosen = np.random.default_rng(1).permutation(rows)[:2000]
    for row in (0, rows - 1):
        others = sorted(values[row] @ values[other] for other in chosen if other != row)[-10:]
        assert result[row] == pytest.approx(np.mean(others) if others else 0)


def test_hubness_moves_a_hub_behind_a_function_that_is_near_to_the_query_only():
    score, near = np.array([[0.8, 0.7]]), np.array([0.6, 0.2])
    assert less_hubness(score, near)[0] == pytest.approx([0.5, 0.6])
    assert mean_of_nearest(np.array([[*range(20), -np.inf]]))[0] == pytest.approx(np.mean(range(10, 20)))


def test_views_come_back_from_a_table(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors = {
        "words": word_counts([ADD, "", LOOP]),
        "terms": term_counts([ADD, "", LOOP]),
        "code": np.random.default_rng(0).normal(size=(3, 5)),
    }
    pq.write_table(pa.table(view_columns(vectors)), tmp_path / "a.parquet", row_group_size=2)
    table = pa.concat_tables([pq.read_table(tmp_path / "a.parquet")] * 2).slice(1)
    read = read_views(table)
    assert list(read) == ["words", "terms", "code"]
    for name in ("words", "terms"):
        assert read[name].shape == (5, HASHED)
        assert (read[name].toarray() == np.tile(vectors[name].toarray(), (2, 1))[1:]).all()
    assert read["code"] == pytest.approx(np.tile(vectors["code"], (2, 1))[1:], abs=2e-3)
    assert read_views(table.slice(0, 0))["code"].shape == (0, 5)
