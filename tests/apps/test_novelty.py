"""Tests ``apps/novelty.py``: from texts to a range, what it flags, its folder, and what is refused."""

import json
from dataclasses import replace

import pytest

from splinelens.apps.novelty import NoveltyDetector, fit_novelty
from splinelens.errors import BadDetector, BadTexts, BrokenArtifact, CannotResume, OutputExists, WrongModel
from splinelens.models import load_model
from splinelens.texts import Texts

WORDS = "you are good the tea is fine what a nice thing we are at the sea thanks to you all".split()
ODD = ["@" * (5 + row) for row in range(24)]


def ordinary(count=100):
    """Sentences of 4 to 12 of a few words, each another one."""
    return [
        " ".join(WORDS[(row * 7 + at * (1 + row % 5)) % len(WORDS)] for at in range(4 + row % 9))
        for row in range(count)
    ]


_MADE = []  # fitting takes a second


@pytest.fixture
def fitted(loaded):
    """A range of 100 ordinary texts with two novel kinds and another class."""
    if not _MADE:
        novel, domains = ["5 + 7 = 12", "x = [1, 2, 3]", "9 - 4 = 5", ""], ["sums", "code", "sums", "sums"]
        extra = {"novel": novel, "domains": domains, "other": ODD, "command": "a command"}
        _MADE.append(fit_novelty(ordinary(), loaded, rate=0.05, **extra))
    return _MADE[0]


def test_texts_unlike_the_traffic_are_flagged_and_others_are_not(fitted):
    records = fitted.score([*ordinary(120)[100:], *ODD[:6], None, ""], rate=0.05)
    assert [record.verdict for record in records[20:26]] == ["flagged"] * 6
    assert sum(record.verdict == "flagged" for record in records[:20]) <= 4
    assert {record.contrast_verdict for record in records[20:26]} == {"flagged"}
    assert records[20].row == 20
    values = list(records[20].farthest.values())
    assert len(values) == 5
    assert values == sorted(values, key=abs, reverse=True)
    assert set(records[20].farthest) <= {*fitted.artifact.numbers}
    for record in records[26:]:
        assert (record.verdict, record.p_value, record.contrast_verdict) == (
            "undetermined",
            None,
            "undetermined",
        )
        assert record.reason


def test_the_report_counts_each_set_and_what_was_not_read(fitted):
    report, traffic = fitted.artifact.report, fitted.artifact.traffic
    alarms = {one["name"]: one for one in report["alarms"]}
    assert {name: one["texts"] for name, one in alarms.items()} == {
        "held-out traffic": 25,
        "novel: code": 1,
        "novel: sums": 2,
        "other": 12,
    }
    flagged, low, high = alarms["other"]["flagged"]
    assert (flagged, high) == (12, 1.0)
    assert low == pytest.approx(0.025 ** (1 / 12))  # Clopper-Pearson at 12 of 12
    assert alarms["other"]["contrast_flagged"][0] == 12
    assert report["undetermined"] == 1
    assert (traffic["fitted"], traffic["compared"]) == (50, 50)
    assert len(fitted.artifact.distances) == 50
    assert traffic["length_bins"] == []  # a rate of 5 % needs 19 texts of a length, and 25 are compared with


def test_a_text_has_the_same_p_value_alone_and_among_others(fitted):
    texts = [*ordinary(30), *ODD[:3]]
    together = fitted.score(texts)
    alone = [fitted.score([text])[0] for text in texts]
    assert [record.p_value for record in alone] == [record.p_value for record in together]


def test_the_same_seed_gives_the_same_range(loaded):
    first, again, other = (fit_novelty(ordinary(), loaded, rate=0.05, seed=seed) for seed in (0, 0, 1))
    assert again.artifact.digest == first.artifact.digest
    assert other.artifact.digest != first.artifact.digest


def test_a_saved_range_gives_the_same_records(fitted, loaded, tiny_folder, tmp_path):
    fitted.save(tmp_path / "range")
    texts = [*ordinary(5), *ODD[:2], ""]
    for model in (None, tiny_folder, loaded):
        again = NoveltyDetector.load(
            tmp_path / "range", model=model, device=None if model is loaded else "cpu"
        )
        assert again.score(texts) == fitted.score(texts)
    assert again.artifact.command == "a command"
    with pytest.raises(OutputExists):
        fitted.save(tmp_path / "range")


def test_a_smaller_rate_than_the_texts_allow_is_refused_with_their_number(fitted):
    assert fitted.score(["a nice thing"], rate=0.02)[0].p_value >= 1 / 51
    with pytest.raises(
        BadDetector,
        match=r"needs 99 ordinary texts of each length to compare with; with 50 the smallest rate is 0.02",
    ):
        fitted.score(["a nice thing"], rate=0.01)


def test_too_few_texts_are_refused_before_a_model_is_loaded():
    with pytest.raises(BadTexts, match=r"0.01 needs 396 ordinary texts .* there are 100"):
        fit_novelty(ordinary(), "no such model")
    with pytest.raises(BadTexts, match="needs 40 ordinary texts"):
        fit_novelty(ordinary(30), "no such model", rate=0.5)
    with pytest.raises(BadTexts, match="no rows"):
        fit_novelty([], "no such model")
    with pytest.raises(BadDetector, match="no false-alarm rate"):
        fit_novelty(ordinary(), "no such model", rate=1.5)
    with pytest.raises(BadTexts, match="1 domains beside 2 novel texts"):
        fit_novelty(ordinary(), "no such model", rate=0.05, novel=["a", "b"], domains=["c"])


def test_texts_that_cannot_be_read_do_not_count(loaded):
    with pytest.raises(BadTexts, match=r"needs 76 .* there are 75"):
        fit_novelty([*ordinary(75), "", None], loaded, rate=0.05)
    with pytest.raises(BadTexts, match=r"19 texts of the other class can be read, and .* needs 20"):
        fit_novelty(ordinary(), loaded, rate=0.05, other=[*ODD[:19], ""])


def test_another_model_is_refused(fitted, tiny_folder, tiny_qwen2, tiny_tokenizer, tmp_path):
    fitted.save(tmp_path / "range")
    tiny_qwen2.save_pretrained(tmp_path / "other")
    tiny_tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(WrongModel, match=r"another model than .*: the architecture differs"):
        NoveltyDetector.load(tmp_path / "range", model=tmp_path / "other")
    with pytest.raises(WrongModel, match=r"reads 2 blocks; of .* 1 are loaded"):
        NoveltyDetector.load(tmp_path / "range", model=load_model(str(tiny_folder), n_layers=1, device="cpu"))


def test_a_range_of_another_catalogue_or_spec_is_refused(fitted, tmp_path):
    artifact = fitted.artifact
    for name, changes, error, match in [
        (
            "catalogue",
            {"spec": artifact.spec | {"version": 0}},
            WrongModel,
            "version 0 of the feature catalogue",
        ),
        ("spec", {"spec": artifact.spec | {"colors": 3}}, BrokenArtifact, "a feature spec has no colors"),
        ("eps", {"spec": artifact.spec | {"layers": [0]}}, WrongModel, "other columns than its spec gives"),
        ("model", {"model": {"name": "tiny"}}, BrokenArtifact, r"is damaged: .*fingerprint"),
    ]:
        replace(artifact, **changes).save(tmp_path / name)
        with pytest.raises(error, match=match):
            NoveltyDetector.load(tmp_path / name)


def test_records_are_written_with_kept_columns_and_a_stopped_run_goes_on(fitted, tmp_path):
    rows = [*ordinary(6), ODD[0], ""]
    texts = Texts(tuple(rows), {"id": tuple("abcdefgh")}, "list")
    out = tmp_path / "watched.jsonl"

    class Stop(Exception):
        pass

    def stop(record):
        raise Stop

    with pytest.raises(Stop):
        fitted.write_scores(texts, out, keep=["id"], observe=stop)
    assert not out.exists()
    with pytest.raises(CannotResume, match=r"rate was 0.05 and is 0.1"):
        fitted.write_scores(texts, out, rate=0.1, keep=["id"])
    seen = []
    fitted.write_scores(texts, out, keep=["id"], observe=seen.append)
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [line.pop("id") for line in lines] == list("abcdefgh")
    assert lines == [record.to_dict() for record in fitted.score(rows)]
    assert len(seen) == 8
    with pytest.raises(BadTexts, match="p_value"):
        named = Texts(tuple(rows), {"p_value": tuple("abcdefgh")}, "list")
        fitted.write_scores(named, tmp_path / "more.jsonl", keep=["p_value"])
