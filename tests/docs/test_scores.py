"""Tests ``docs/scores.md``: what it says of the Perspective API's attributes and of our commands exists."""

import re
from pathlib import Path

from typer.testing import CliRunner

import splinelens
from splinelens.cli import app
from splinelens.detect.artifact import Artifact

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "scores.md").read_text("utf-8")
DETECTORS = Path(splinelens.__file__).parent / "detectors"
ATTRIBUTES = "TOXICITY SEVERE_TOXICITY IDENTITY_ATTACK INSULT PROFANITY THREAT".split()


def test_each_attribute_of_perspective_has_a_label_of_a_shipped_detector():
    for attribute in ATTRIBUTES:
        detectors, label = re.search(rf"^\| `{attribute}` \| (.*) \| `(\w+)` \|$", PAGE, re.M).groups()
        for name in re.findall(r"`([\w-]+)`", detectors):
            assert label in Artifact.load(DETECTORS / name).labels


def test_every_option_of_the_commands_exists():
    for command, options in re.findall(r"`splinelens (\w+) ([^`]*)`", PAGE):
        page = CliRunner().invoke(app, [command, "--help"]).stdout
        for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", options):
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", page), (command, option)
