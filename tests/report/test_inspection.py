"""Tests ``report/inspection.py``: labels of tokens, tables of layers, and the JSON."""

import json
from dataclasses import replace

import numpy as np

from splinelens.geometry.settings import SPLINE7
from splinelens.report.inspection import characters, distance_table, layer_table, token_labels


def test_the_tokens_of_one_character_are_numbered(text_report):
    text = replace(text_report("I 🦩!", layers=1), spans=((0, 1), (1, 3), (2, 3), (2, 3), (3, 4)))
    assert token_labels(text) == ["I", "␣🦩1/3", "🦩2/3", "🦩3/3", "!"]
    assert [list(group) for group in characters(text)] == [[0], [1, 2, 3], [4]]


def test_equal_tokens_at_different_positions_stay_apart(text_report):
    text = replace(text_report("no no", layers=1), spans=((0, 2), (2, 3), (3, 5), (5, 5), (5, 5)))
    assert token_labels(text) == ["no", "␣", "no", "∅", "∅"]


def test_json_holds_every_array_as_lists_in_the_order_of_its_axes(inspection):
    found = inspection("one two", "three", layers=3, heads=2, percentiles=True, prefixes=True)
    record = json.loads(found.to_json())
    assert record["schema"] == 2
    assert record["features"] == list(SPLINE7)
    assert record["layers"] == [0, 1, 2]
    np.testing.assert_allclose(record["self_distance"], found.self_distance)
    for at, (shown, text) in enumerate(zip(record["texts"], found.texts, strict=True)):
        arrays = {name: getattr(text, name) for name in "sign boundary dimension bound regions seven".split()}
        arrays |= {
            "wall": text.nearest_wall,
            "percentiles": found.percentiles[at],
            "prefixes": found.prefixes[at],
        }
        for name, array in arrays.items():
            assert np.shape(shown[name]) == array.shape, name
            np.testing.assert_allclose(np.array(shown[name], float), array, rtol=1e-6)
        assert shown["text"] == text.text
        assert [tuple(span) for span in shown["spans"]] == list(text.spans)
        assert shown["region_ids"] == [text.region_ids(layer) for layer in range(3)]


def test_json_writes_the_shortest_decimals_that_identify_a_float(inspection):
    found = inspection("a")
    found.texts[0].sign[0, 0] = 0.1
    assert json.loads(found.to_json())["texts"][0]["sign"][0][0] == 0.1


def test_json_says_null_where_there_is_no_number(inspection, view):
    found = inspection("ab", view=view)
    found.texts[0].dimension[:, 1] = -1
    found.texts[0].boundary[2] = np.inf
    record = json.loads(found.to_json())
    text = record["texts"][0]
    assert text["dimension"][0][1] == [[None, None], [None, None]]
    assert text["boundary"][2] == [None, None]
    assert (
        text["percentiles"] is text["prefixes"] is record["text_distance"] is record["self_distance"] is None
    )
    assert record["slice"]["cells"][0] == view.cells[0].tolist()
    assert record["slice"]["labels"] == list(view.labels)


def test_a_table_has_a_row_per_layer_and_a_dash_where_there_is_no_number(inspection):
    found = inspection("ab", "cd")
    text = found.texts[1]
    text.dimension[:, 2] = -1
    text.boundary[2] = np.inf
    head, rows = layer_table(text)
    assert [row[0] for row in rows] == ["0", "1", "2"]
    cells = dict(zip(head, rows[0], strict=True))
    assert cells["sign mean"] == f"{text.sign[0].mean():.4f}"
    assert cells["sign max"] == f"{text.sign[0].max():.4f}"
    assert cells["ID abs"] == f"{text.dimension[0, 0].sum(axis=0).mean():.1f}"
    assert cells["regions"] == str(text.regions[0])
    cells = dict(zip(head, rows[2], strict=True))
    assert [cells[name] for name in ("nearest", "ID abs", "ID rel")] == ["-", "-", "-"]
    assert distance_table(found).rows[2] == (
        "2",
        *(f"{share:.4f}" for share in (found.text_distance[2], *found.self_distance[:, 2])),
    )


def test_points_in_one_region_name_the_first(view):
    assert view.same_cell() == {1: 0}
