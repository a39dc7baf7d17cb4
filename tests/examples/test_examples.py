"""Tests ``examples/``: each one runs on the default model and shows what it promises."""

import re
import runpy
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = "across_a_wall any_architecture demo every_prefix hull_of_a_token one_token slice_of_a_layer".split()


@pytest.fixture
def shown(default_model, monkeypatch, capsys, tmp_path):
    """Runs an example in an empty folder and returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def shown(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return shown


def numbers(text, pattern):
    return [tuple(map(float, found.groups())) for found in re.finditer(pattern, text, re.MULTILINE)]


def test_every_example_is_tested_here_or_as_the_demo():
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == NAMES


@pytest.mark.parametrize("name", [name for name in NAMES if name != "demo"])
def test_an_example_fits_one_screen_and_says_how_to_run_it(name):
    text = (EXAMPLES / f"{name}.py").read_text("utf-8")
    assert len(text.splitlines()) < 70
    assert f"python examples/{name}.py" in text


def test_one_token_names_the_region_and_wall_of_each_token(shown):
    text = shown("one_token")
    rows = re.findall(r"^.{13}  ([0-9a-f]{16})  +[\d.]+%  neuron +\d+  (0\.\d{6})$", text, re.MULTILINE)
    assert len({region for region, _ in rows}) == 9
    assert "in front of 1,536 walls" in text
    assert "map there is first-order" in text


def test_the_hull_keeps_its_bounds(shown):
    text = shown("hull_of_a_token")
    assert len(re.findall(r"^ +\d  +\d+  +\d+  \S", text, re.MULTILINE)) == 9
    (loose,) = numbers(text, r"^keys over all heads +(\d+) +(\d+)")
    (tight,) = numbers(text, r"^sum of .* (\d+) +(\d+) ")
    (measured,) = numbers(text, r"^measured dimension +(\d+) +(\d+)")
    assert all(m <= t <= bound for m, t, bound in zip(measured, tight, loose, strict=True))
    assert measured[0] < measured[1]


def test_across_a_wall_one_sign_flips_and_only_the_exact_map_was_exact_before(shown):
    first, second = shown("across_a_wall").split("The default model")
    for text, exact in ((first, True), (second, False)):
        rows = numbers(text, r"^ +([\d.]+) +(\d+)  (\S+)$")
        assert [row[1] for row in rows[:3]] == [0, 0, 1]
        assert (rows[1][2] < 1e-9) is exact
        assert rows[2][0] <= 1.01
        assert rows[3][2] > rows[1][2]


def test_the_slice_is_drawn_into_a_file(shown, tmp_path):
    text = shown("slice_of_a_layer", "here.svg")
    drawn = ElementTree.parse(tmp_path / "here.svg").getroot()
    ((cells,),) = numbers(text, r"walls, (\d+) cells;")
    assert len(drawn) == cells + 1
    assert text.endswith("wrote here.svg\n")


def test_every_prefix_is_the_same_in_three_ways(shown):
    text = shown("every_prefix")
    assert len(numbers(text, r"(0\.\d{4}) +(0\.\d{6}) +(\d+)$")) == 19
    differences = numbers(text, r"differs by (\S+) of")
    assert len(differences) == 2
    # Bit-equal where sums do not depend on the batch; else the smallest distances and a count show it.
    assert all(difference < 0.1 for (difference,) in differences)


def test_any_architecture_shows_routes_and_keeps_its_contracts(shown):
    text = shown("any_architecture")
    routes = numbers(text, r"\[(\d), (\d)\]")
    assert len(routes) == 6
    assert all(first < second < 8 for first, second in routes)
    held = re.findall(r"^(ok|none) ", text, re.MULTILINE)
    assert (len(held), held.count("none")) == (8, 1)  # experts have no map
    assert "FAILED" not in text
