"""Tests ``report/inspection_page.py``: one sound file, offline, that no text can break out of."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import splinelens.report.inspection_page
from splinelens.errors import CannotWrite
from splinelens.report.inspection_figures import figures
from splinelens.report.inspection_page import page, require_plotly

TRICKS = 'a <b>b</b> </script><script>alert(1)</script> --> <!-- & "x" {title} %{z} \u202eab \x1b[31m\n\ud800'
FOLDER = Path(splinelens.report.inspection_page.__file__).parent


@pytest.fixture
def short(monkeypatch):
    """Plotly's script is long; where it does not matter a short one stands for it."""
    monkeypatch.setattr(splinelens.report.inspection_page, "require_plotly", lambda path: "var Plotly;")


def every(inspection, view):
    return inspection(TRICKS, "no", percentiles=True, prefixes=True, view=view, notes=["<i>note</i>"])


@pytest.mark.usefixtures("short")
def test_the_page_is_sound(inspection, view, read_page):
    for found in (every(inspection, view), inspection("a")):
        reader = read_page(page(found))
        ids = reader.named("id")
        assert len(ids) == len(set(ids))
        assert {link.removeprefix("#") for link in reader.named("href")} <= set(ids)
        assert set(reader.named("for")) <= set(ids)
        assert [values["lang"] for tag, values in reader.elements if tag == "html"] == ["en"]
        assert "width=device-width" in reader.named("content")[0]


@pytest.mark.usefixtures("short")
def test_no_text_breaks_out_of_its_place(inspection, view, read_page):
    reader = read_page(page(every(inspection, view)))
    assert len(reader.scripts) == 3
    tags = {tag for tag, _ in reader.elements}
    assert "b" not in tags
    assert "</script><script>alert(1)</script>" in "".join(reader.words)
    assert not any(script.startswith("alert") for script in reader.scripts)
    assert "{title}" in "".join(reader.words)
    assert "\u202e" not in "".join(reader.words)
    assert "\x1b" not in "".join(reader.words)


@pytest.mark.usefixtures("short")
def test_the_page_can_be_written_as_utf_8(inspection):
    page(inspection(TRICKS)).encode("utf-8")  # a lone surrogate cannot


@pytest.mark.usefixtures("short")
def test_every_figure_has_one_place_and_its_data(inspection, view, read_page):
    found = every(inspection, view)
    reader = read_page(page(found))
    data = json.loads(reader.scripts[0])
    assert data["figures"] == json.loads(json.dumps(figures(found)))
    assert sorted(reader.named("data-figure")) == sorted(data["figures"])
    assert data["tokens"] == [text.labels() for text in found.portraits]
    assert data["layers"] == list(found.layers)
    assert data["dimension"] == [text.dimension.tolist() for text in found.portraits]


@pytest.mark.usefixtures("short")
def test_layers_without_softmax_have_no_heads(inspection, read_page):
    found = inspection("ab")
    found.portraits[0].dimension[:, 1] = -1
    held = json.loads(read_page(page(found)).scripts[0])["dimension"][0]
    assert [counts[1] for counts in held] == [None, None]
    assert held[0][0] == found.portraits[0].dimension[0, 0].tolist()


def test_the_page_loads_nothing(inspection, view, read_page):
    text = page(every(inspection, view))
    reader = read_page(text)
    for tag, values in reader.elements:
        assert "src" not in values, tag
        assert values.get("href", "#").startswith("#"), tag
    assert not {"link", "iframe", "img", "object", "base"} & {tag for tag, _ in reader.elements}
    policy = reader.named("content")[1]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "connect-src" not in policy
    style = (FOLDER / "offline_page.css").read_text("utf-8")
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search(r"https?:|fetch\(|XMLHttpRequest|import\(", reader.scripts[2])
    assert "displayModeBar: false" in reader.scripts[2]  # plotly's own bar offers to send data away


def test_plotly_is_written_into_the_page_once(inspection):
    text = page(inspection("a"))
    script = require_plotly("x")
    assert "</script" not in script
    assert text.count("* plotly.js v") == 1
    assert script in text


@pytest.mark.usefixtures("short")
def test_256_tokens_of_30_layers_take_less_than_3_megabytes(inspection):
    found = inspection("word" * 256, layers=30, heads=9, size=4, percentiles=True, prefixes=True)
    assert len(found.portraits[0].spans) == 256
    assert len(page(found).encode("utf-8")) < 3e6


@pytest.mark.usefixtures("short")
def test_the_script_finds_what_it_looks_for(inspection, view, read_page):
    script = (FOLDER / "inspection_page.js").read_text("utf-8")
    reader = read_page(page(every(inspection, view)))
    looked_for = set(re.findall(r'getElementById\("([\w-]+)"\)', script))
    assert looked_for == {"data", "layer", "layer-chosen"}
    assert looked_for <= set(reader.named("id"))
    assert {"threshold", "view"} <= set(reader.named("name"))
    style = (FOLDER / "offline_page.css").read_text("utf-8")
    used = set(re.findall(r"var\((--\w+)\)", style)) | set(re.findall(r'"(--\w+)"', script))
    light, dark = re.findall(r":root \{(.*?)\}", style, re.S)
    for scheme in (light, dark):
        assert used <= set(re.findall(r"(--\w+):", scheme))


@pytest.mark.usefixtures("short")
def test_every_picture_can_be_reached_by_keyboard_and_says_what_it_is(inspection, view, read_page):
    reader = read_page(page(every(inspection, view)))
    plots = [values for _, values in reader.elements if values.get("class") == "plot"]
    assert plots
    for values in plots:
        assert values["tabindex"] == "0"
        assert len(values["aria-label"]) > 10
    live = [values for _, values in reader.elements if values.get("aria-live") == "polite"]
    assert len(live) == len(plots)


@pytest.mark.usefixtures("short")
def test_the_head_names_model_layers_and_threshold(inspection):
    found = replace(inspection("a"), model="<model>\u202e", layers=(0, 1, 5))
    text = page(found)
    assert "&lt;model&gt;⟨202E⟩ · 3 layers (0-1,5) · 1,536 neurons · 2 heads · eps 0.1" in text


def test_without_plotly_the_error_says_what_to_install(inspection, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(CannotWrite, match=r"pip install 'splinelens\[plot\]'"):
        page(inspection("a"))
