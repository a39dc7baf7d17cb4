"""Tests ``docs/scores.md``: what it says of the Perspective API's attributes exists."""

import re
from pathlib import Path

import splinelens
from splinelens.detect.artifact import Artifact

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "scores.md").read_text("utf-8")
DETECTORS = Path(splinelens.__file__).parent / "detectors"
ATTRIBUTES = "TOXICITY SEVERE_TOXICITY IDENTITY_ATTACK INSULT PROFANITY THREAT".split()


def test_each_attribute_of_perspective_has_a_label_of_a_shipped_detector():
    for attribute in ATTRIBUTES:
        detectors, label = re.search(rf"^\| `{attribute}` \| (.*) \| `(\w+)` \|$", PAGE, re.M).groups()
        for name in re.findall(r"`([\w-]+)`", detectors):
            assert label in Artifact.load(DETECTORS / name).labels
