"""Tests ``report/evaluation_page.py``: one sound file, offline, that no text can break out of."""

import json
import re
from pathlib import Path

import pytest

import splinelens.report.evaluation_page
from splinelens.report.evaluation_figures import figures
from splinelens.report.evaluation_page import page

TRICKS = 'a <b>b</b> </script><script>alert(1)</script> --> <!-- & "x" {title} %{z} \u202eab \x1b[31m\n\ud800'
FOLDER = Path(splinelens.report.evaluation_page.__file__).parent


@pytest.fixture
def short(monkeypatch):
    """Plotly's script is long; where it does not matter a short one stands for it."""
    monkeypatch.setattr(splinelens.report.evaluation_page, "require_plotly", lambda path: "var Plotly;")


def tricky(evaluation):
    return evaluation(text=TRICKS, name=TRICKS, label=TRICKS, source=TRICKS, model=TRICKS, notes=(TRICKS,))


@pytest.mark.usefixtures("short")
def test_the_page_is_sound(evaluation, read_page):
    for report in (tricky(evaluation), evaluation(heat=None, map=None)):
        reader = read_page(page(report))
        ids = reader.named("id")
        assert len(ids) == len(set(ids))
        assert {link.removeprefix("#") for link in reader.named("href")} <= set(ids)
        assert set(reader.named("for")) <= set(ids)
        assert "width=device-width" in reader.named("content")[0]


@pytest.mark.usefixtures("short")
def test_no_text_breaks_out_of_its_place(evaluation, read_page):
    reader = read_page(page(tricky(evaluation)))
    assert len(reader.scripts) == 3
    assert "b" not in {tag for tag, _ in reader.elements}
    assert not any(script.startswith("alert") for script in reader.scripts)
    words = "".join(reader.words)
    assert "</script><script>alert(1)</script>" in words
    assert "\u202e" not in words
    assert "\x1b" not in words


@pytest.mark.usefixtures("short")
def test_the_page_can_be_written_as_utf_8(evaluation):
    page(tricky(evaluation)).encode("utf-8")  # a lone surrogate cannot


def test_the_page_loads_nothing(evaluation, read_page):
    reader = read_page(page(evaluation()))
    for tag, values in reader.elements:
        assert "src" not in values, tag
        assert values.get("href", "#").startswith("#"), tag
    assert not {"link", "iframe", "img", "object", "base", "form"} & {tag for tag, _ in reader.elements}
    policy = reader.named("content")[1]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert not re.search(r"https?:|fetch\(|XMLHttpRequest|import\(", reader.scripts[2])
    style = (FOLDER / "evaluation_page.css").read_text("utf-8")
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.usefixtures("short")
def test_every_figure_has_one_place_and_its_data(evaluation, read_page):
    report = evaluation()
    reader = read_page(page(report))
    data = json.loads(reader.scripts[0])
    assert data["figures"] == json.loads(json.dumps(figures(report)))
    assert sorted(reader.named("data-figure")) == sorted(data["figures"])
    assert data["sweep"]["recall"] == pytest.approx(report.sweep.recall, abs=1e-6)
    assert data["sweep"]["precision"][0] is None
    assert len(set(map(len, data["sweep"].values()))) == 1


@pytest.mark.usefixtures("short")
def test_the_script_finds_what_it_looks_for(evaluation, read_page):
    script = (FOLDER / "evaluation_page.js").read_text("utf-8")
    reader = read_page(page(evaluation()))
    looked_for = set(re.findall(r'getElementById\("([\w-]+)"\)', script))
    assert looked_for == {"data", "threshold", "prevalence"}
    said = {f"told-{name}" for name in re.findall(r'say\("(\w+)"', script)}
    assert said == {name for name in reader.named("id") if name.startswith("told-")}
    assert looked_for <= set(reader.named("id"))


@pytest.mark.usefixtures("short")
def test_every_colour_has_a_value_in_both_schemes():
    styles = [(FOLDER / f"{name}_page.css").read_text("utf-8") for name in ("offline", "evaluation")]
    schemes = [re.findall(r":root \{(.*?)\}", style, re.S) for style in styles]
    used = set(re.findall(r"var\((--\w+)\)", "".join(styles))) - {"--strength"}
    for place in (0, 1):
        assert used <= set(re.findall(r"(--\w+):", schemes[0][place] + schemes[1][place]))


@pytest.mark.usefixtures("short")
def test_the_slider_and_the_pictures_can_be_used_by_keyboard(evaluation, read_page):
    reader = read_page(page(evaluation()))
    inputs = [values for tag, values in reader.elements if tag == "input"]
    assert [values["type"] for values in inputs] == ["range", "number"]
    assert all(values["id"] in reader.named("for") for values in inputs)
    for values in (values for _, values in reader.elements if values.get("class") in ("plot", "table")):
        assert values["tabindex"] == "0"
        assert values["aria-label"]


@pytest.mark.usefixtures("short")
def test_a_full_page_takes_less_than_a_megabyte(evaluation):
    assert len(page(evaluation(rows=1000, layers=30)).encode("utf-8")) < 1e6
