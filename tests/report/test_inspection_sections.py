"""Tests ``report/inspection_sections.py``: what each section says, with its units, and what is left out."""

import re
from dataclasses import replace

import numpy as np

from splinelens.report.inspection_sections import sections


def plain(html):
    return re.sub(r"<[^>]*>", "", html)


def test_a_section_without_anything_to_show_is_left_out(inspection, view):
    assert list(sections(inspection("ab"))) == [
        "texts",
        "sign",
        "boundary",
        "dimension",
        "features",
        "numbers",
    ]
    full = sections(inspection("ab", "cd", prefixes=True, view=view))
    assert set(full) - set(sections(inspection("ab"))) == {"text_distance", "prefixes", "slice"}
    found = inspection("ab")
    found.portraits[0].dimension[:] = -1
    assert "dimension" not in sections(found)


def test_every_picture_comes_with_its_definition_and_unit(inspection, view):
    found = sections(inspection("ab", "cd", percentiles=True, prefixes=True, view=view))
    units = {
        "sign": "share of neurons",
        "boundary": "units of the MLP's input",
        "dimension": "vertices",
        "features": "in percent",
        "text_distance": "from 0 to 1",
        "prefixes": "shares of neurons and units of the MLP's input",
        "slice": "in units of that input",
    }
    for name, unit in units.items():
        assert unit in plain(found[name][1]).replace("&#x27;", "'"), name


def test_a_text_stands_in_its_tokens_and_nothing_of_it_is_lost(inspection, portrait):
    found = inspection("xx")
    text = replace(portrait("I 🦩!?"), spans=((0, 1), (1, 3), (2, 3), (3, 4)))
    html = sections(replace(found, portraits=(text,)))["texts"][1]
    assert '<span data-tokens="0" title="token 0">I</span>' in html
    assert '<span data-tokens="1 2" title="tokens 1 to 2"> 🦩</span>' in html
    assert "!</span><i>?</i>" in html  # belongs to no token
    assert plain(html).startswith("I 🦩!?")
    assert "4 tokens" in plain(html)


def test_hidden_characters_are_shown_as_signs_and_breaks_break(inspection):
    html = sections(inspection("a\n\u202e<"))["texts"][1]
    assert "<i>↵</i>\n" in html
    assert "<i>⟨202E⟩</i>" in html
    assert ">&lt;</span>" in html


def test_two_texts_stand_side_by_side_under_one_scale(inspection):
    title, html = sections(inspection("ab", "cd"))["sign"]
    assert title == "Sign fraction"
    assert re.findall(r'data-figure="([\w-]+)"', html) == ["sign-0", "sign-1"]
    assert plain(html).count("share of neurons") == 1
    assert "Text 1" in html
    assert "Text 2" in html
    assert "Text 1" not in sections(inspection("ab"))["sign"][1]


def test_long_texts_scroll_instead_of_shrinking(inspection):
    assert "min-width:1340px" in sections(inspection("a" * 256))["sign"][1]
    assert "min-width" not in sections(inspection("a" * 9))["sign"][1]


def test_only_layers_with_softmax_can_be_chosen(inspection):
    found = inspection("ab", layers=4)
    found.portraits[0].dimension[:, 1] = -1
    html = sections(found)["dimension"][1]
    assert 'data-layers="0,2,3"' in html
    assert 'max="2"' in html
    assert "layer 2</output>" in html


def test_the_slice_says_how_many_regions_and_walls_it_shows(inspection, view):
    words = plain(sections(inspection("ab", view=view))["slice"][1])
    assert "up to 4 regions of layer 1 in this window; 2 of 48 walls cross it" in words
    assert "(in the same region as token 0 &#x27;a&#x27;)" in words
    assert "(its region is not known)" in words
    assert "token 1 &#x27;&lt;b&gt;⟨202E⟩&#x27;" in words


def test_the_table_holds_a_row_a_layer_and_a_dash_where_there_is_no_number(inspection):
    found = inspection("ab", "cd")
    found.portraits[1].dimension[:, 2] = -1
    found.portraits[1].boundary[2] = np.inf
    html = sections(found)["numbers"][1]
    rows = [re.findall(r"<td>([^<]*)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)[1:]]
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert {len(row) for row in rows} == {len(re.findall("<th ", html))}
    assert rows[0][1] == f"{found.portraits[0].seven[0, 0]:.4f}"
    assert rows[0][3] == f"{found.portraits[0].dimension[0, 0].sum(axis=0).mean():.1f}"
    assert rows[2][7:10] == ["-", "-", "-"]
    assert rows[2][-3:] == [f"{share:.4f}" for share in (found.text_distance[2], *found.own_distance[:, 2])]


def test_the_distance_between_texts_says_how_to_read_it(inspection):
    words = plain(sections(inspection("ab", "cd"))["text_distance"][1])
    assert "never below the mean of these two" in words
    for key in ("Text 1 to 2", "Text 1 to itself", "Text 2 to itself"):
        assert key in words


def test_the_page_says_what_colours_and_percentiles_do_not_show(inspection):
    found = sections(inspection("ab", percentiles=True, prefixes=True))
    assert "from the 5th to the 95th percentile" in plain(found["sign"][1])
    assert "a few are always extreme" in plain(found["features"][1])
    assert "logarithmic axis; a 0" in plain(found["prefixes"][1])


def test_notes_are_told_and_escaped(inspection):
    html = sections(inspection("ab", notes=("layer 1: <b>linear</b> attention",)))["numbers"][1]
    assert "<li>layer 1: &lt;b&gt;linear&lt;/b&gt; attention</li>" in html
    assert "Notes" not in sections(inspection("ab"))["numbers"][1]
