"""What the tests of the command line share: a tiny model, labeled comments, a detector."""

import csv
import random
import shutil

import pytest
from typer.testing import CliRunner

from splinelens.cli import app

RUDE = ["idiot", "stupid", "fool", "trash", "loser"]
KIND = ["lovely", "friend", "garden", "thanks", "sunny"]
_MADE = {}  # what takes seconds is made once; tests that change it work on a copy


@pytest.fixture
def run():
    """Runs a command line in this process: ``run("score", "--text", "a").stdout``."""

    def run(*arguments, input=None, code=0):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
def model_folder(tiny_llama, tiny_tokenizer, tmp_path_factory):
    """A tiny Llama and its tokenizer as a folder."""
    return _once("model", tmp_path_factory, lambda folder: _save(tiny_llama, tiny_tokenizer, folder))


@pytest.fixture
def comments(tmp_path_factory):
    """A CSV of 80 training and 40 test rows: id, comment, toxic, kind, split."""

    def write(folder):
        dice = random.Random(0)
        with (folder / "comments.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["id", "comment", "toxic", "kind", "split"])
            for row in range(120):
                rude = row % 2
                words = ["you", "the", "and", "a", *dice.sample(RUDE if rude else KIND, 2), dice.choice(KIND)]
                dice.shuffle(words)
                kind = "rude" if rude else "kind"
                table.writerow([row, " ".join(words), rude, kind, "train" if row < 80 else "test"])

    return _once("comments", tmp_path_factory, write) / "comments.csv"


@pytest.fixture
def detector(run, model_folder, comments, tmp_path_factory):
    """A detector fitted on the training rows through the command line; it may be changed."""

    def fit(folder):
        arguments = ["--column", "comment", "--label", "toxic", "--split", "split", "--model", model_folder]
        run("train", comments, *arguments, "-o", folder / "tiny", "--max-tokens", 64)

    made = _once("detector", tmp_path_factory, fit) / "tiny"
    return shutil.copytree(made, tmp_path_factory.mktemp("copy") / "tiny")


def _once(name, factory, make):
    if name not in _MADE:
        folder = factory.mktemp(name)
        make(folder)
        _MADE[name] = folder
    return _MADE[name]


def _save(model, tokenizer, folder):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
