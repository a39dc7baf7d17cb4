"""Tests apps/audit.py: equal lengths, the numbers of ``extract``, runs that stop, and what is not known."""

import json
import math
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from splinelens import extract, load_model
from splinelens.anatomy import anatomy_of
from splinelens.apps.audit import audit, report_files
from splinelens.errors import (
    BadFeatures,
    BadLabels,
    BadModel,
    BadTexts,
    CannotResume,
    CannotWrite,
    MissingColumn,
    MissingPackage,
    OutputExists,
)
from splinelens.generate.sample import Sampling, Writer
from splinelens.texts import Texts

WORDS = "tea sea boat hill wood path bird song lamp door".split()
CONTEXTS = Texts(
    ("you and me", "the long day", "a thing", "in the yard", "hello there", "so it is"),
    {"kind": ("Related ", "related", "unrelated", "unrelated", "neutral", "neutral")},
    "contexts.csv",
)


def prompts(count=3, **columns):
    return Texts(tuple(f"tell of the {word}" for word in WORDS[:count]), columns, "prompts.csv")


@pytest.fixture
def tiny(writer_folder):
    """Loads the tiny model that writes, with its head."""
    return lambda **options: load_model(writer_folder(), head=True, device="cpu", **options)


@pytest.fixture
def run(tiny):
    """Audits the tiny model with a trial of each kind, without a detector."""

    def run(asked=None, contexts=CONTEXTS, model=None, **options):
        options = {"sentences": 1, "orders": 1, "max_tokens": 4, "detectors": (), **options}
        return audit(model or tiny(), prompts() if asked is None else asked, contexts, **options)

    return run


def table_of(page):
    return pq.read_table(report_files(page)[2]).to_pylist()


def test_trials_of_a_cell_are_equally_long_and_without_context_have_the_numbers_of_extract(
    run, tiny, tmp_path
):
    page = tmp_path / "report.html"
    run(raw=True, output=page, sentences=2, orders=2, max_tokens=0)
    rows = table_of(page)
    lengths = {}
    for row in rows:
        lengths.setdefault((row["prompt"], row["sentences"]), set()).add(row["tokens"])
    assert all(len(found) == 1 for found in lengths.values())
    names = ("attention_id_relative_last", "attention_bound_absolute_mean", "sign_mean", "boundary_min")
    alone = extract(prompts(), tiny(), features=names)
    for row in rows:
        if row["kind"] == "none":
            for column, value in zip(alone.columns, alone.values[row["prompt"]], strict=True):
                assert math.isclose(row[column.name], value, rel_tol=1e-4, abs_tol=1e-6)


def test_after_a_context_only_the_prompt_is_pooled_and_the_end_sees_everything(run, tiny, tmp_path):
    page = tmp_path / "report.html"
    run(raw=True, output=page, max_tokens=0)
    row = next(row for row in table_of(page) if row["kind"] == "repeated" and row["prompt"] == 1)
    text = prompts().texts[1]
    tokenizer = tiny().tokenizer
    repeated = tokenizer(f"{text}\n")["input_ids"]
    context = (repeated * 3)[: row["context_tokens"] - 1] + tokenizer("\n")["input_ids"]
    before = tokenizer.decode(context)
    alone = extract([text], tiny(), features=("sign_mean", "attention_id_absolute_last"), prompt=before)
    for column, value in zip(alone.columns, alone.values[0], strict=True):
        assert math.isclose(row[column.name], value, rel_tol=1e-4)


def test_answers_are_those_of_each_prompt_by_itself(run, tiny):
    report = run(keep_answers=True, max_tokens=6)
    writer = Writer(tiny())
    for point in report.points:
        if point.kind == "none":
            asked = [{"role": "user", "content": prompts().texts[point.prompt]}]
            assert point.answer == writer.write(asked, Sampling(max_tokens=6))[0].text


def test_answers_are_stored_only_if_asked(run, tmp_path):
    page = tmp_path / "report.html"
    report = run(output=page)
    assert all(point.answer is None for point in report.points)
    assert "answer" not in table_of(page)[0]
    assert not any(point["answer"] for point in json.loads(page.with_suffix(".json").read_text())["points"])


def test_a_run_that_stops_goes_on_with_the_same_result(run, tmp_path):
    class Stopped(Exception):
        pass

    def stop(done, total):
        if done > 0.9 * total:
            raise Stopped

    whole, parts = tmp_path / "whole.html", tmp_path / "parts.html"
    options = {
        "asked": prompts(9),
        "max_tokens": 1,
        "raw": True,
    }  # 18 batches, of which 16 are stored at once
    run(output=whole, **options)
    with pytest.raises(Stopped):
        run(output=parts, progress=stop, **options)
    with pytest.raises(CannotResume, match="seed was 0 and is 5"):
        run(output=parts, seed=5, **options)
    run(output=parts, **options)
    assert table_of(parts) == table_of(whole)
    assert parts.with_suffix(".json").read_text() == whole.with_suffix(".json").read_text()
    assert not (tmp_path / "parts.html.parts").exists()
    with pytest.raises(OutputExists):
        run(output=parts, **options)


def test_a_context_that_leaves_no_room_fails_with_its_reason_and_the_rest_is_kept(run):
    long = Texts(
        ("the sea " * 90, "a thing"), {"kind": ("related", "related"), "prompt": ("1", "0")}, "contexts.csv"
    )
    both = Texts(
        (*long.texts, "you"), {"kind": (*long.columns["kind"], "related"), "prompt": ("1", "0", "2")}, "c"
    )
    report = run(contexts=both)
    assert any("leaves no room for a reply" in note for note in report.notes)
    related = next(kind for kind in report.kinds if kind.kind == "related")
    assert (related.trials, related.failed) == (2, 1)


def test_a_model_whose_numbers_are_not_finite_is_refused(run, tiny):
    broken = tiny()
    with torch.no_grad():
        anatomy_of(broken.model).blocks[1].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(
        BadModel, match=r"none of \d+ trials could be read; the first: its activations are not finite"
    ):
        run(prompts(1), model=broken)


def test_a_model_without_a_chat_template_is_asked_raw(run, tiny):
    plain = tiny()
    plain.tokenizer.chat_template = None
    assert "asked without a chat template" in run(model=plain).notes
    assert "asked without a chat template" not in run().notes


def test_a_judge_decides_in_place_of_the_rules_and_what_it_leaves_open_is_counted(run):
    asked = []

    def judge(texts):
        asked.extend(texts)
        return [[1.0, 0.0, None, 7.0][at % 4] for at in range(len(texts))]

    report = run(judge=judge, keep_answers=True, max_tokens=12)
    assert asked
    assert asked[0].startswith("Request:\ntell of the tea\n\nReply:\n")
    open_ = sum(at % 4 > 1 for at in range(len(asked)))
    assert f"the judge did not decide {open_} of {len(asked)} answers" in report.notes
    found = [point.refusal for point in report.points]
    assert found.count("refused") == sum(at % 4 == 0 for at in range(len(asked)))
    assert found.count("undetermined") == open_


@pytest.mark.parametrize("judge", [lambda texts: 1 / 0, lambda texts: ["yes"] * len(texts)])
def test_a_judge_that_fails_leaves_every_answer_undetermined(run, judge):
    report = run(judge=judge, max_tokens=12)
    assert {point.refusal for point in report.points} <= {"undetermined", "not engaged"}
    assert any(
        note.endswith(("it failed: ZeroDivisionError", "it failed: ValueError")) for note in report.notes
    )


def test_a_probe_recognizes_a_class_that_the_prompts_show(run):
    texts = tuple(f"{word} {'!!!!' if at % 2 else 'the'} {word}" for at, word in enumerate(WORDS))
    asked = Texts(texts, {"label": tuple(str(at % 2) for at in range(len(texts)))}, "prompts.csv")
    report = run(asked, max_tokens=0)
    alone = report.kinds[0]
    assert alone.recognized.count == alone.recognized.total == 5
    assert alone.mistaken.count == 0
    few = run(prompts(3, label=("1", "0", "1")), max_tokens=0)
    assert few.kinds[0].recognized is None
    assert "recognized: the labels are of 2 and 1 prompts; a probe needs 5 of each" in few.notes


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_an_edited_mlp_is_the_first_layer_that_moved(run, tiny, layer):
    edited = tiny()
    with torch.no_grad():
        anatomy_of(edited.model).blocks[layer].mlp.down_proj.weight.mul_(1.05)
    compared = run(prompts(1), against=edited, max_tokens=0).comparison
    assert compared.first_moved == layer
    assert [shift.moved for shift in compared.layers] == [at >= layer for at in range(3)]


def test_neurons_in_another_order_and_scale_move_no_layer(run, tiny):
    same = tiny()
    mlp = anatomy_of(same.model).blocks[1].mlp
    order, scale = torch.randperm(48), torch.rand(48) + 0.5
    with torch.no_grad():
        mlp.gate_proj.weight.copy_(mlp.gate_proj.weight[order])
        mlp.up_proj.weight.copy_(mlp.up_proj.weight[order] * scale[:, None])
        mlp.down_proj.weight.copy_(mlp.down_proj.weight[:, order] / scale)
    report = run(against=same)
    assert report.comparison.first_moved is None
    assert report.comparison.same_answers == len(report.points)
    assert any("no layer moved" in verdict for verdict in report.verdicts)


def test_models_with_other_tokens_are_not_compared(run, tiny):
    other = tiny()
    other.tokenizer.chat_template = "{% for m in messages %}<bos>{{ m.content }}{% endfor %}"
    with pytest.raises(
        BadModel, match="have different tokens or chat templates, so they cannot have the same trials"
    ):
        run(against=other)


def test_only_the_geometry_is_read_if_no_answers_are_written(run):
    report = run(max_tokens=0)
    assert report.associations == {}
    assert {point.refusal for point in report.points} == {"undetermined"}
    assert np.isfinite([point.relative for point in report.points]).all()


@pytest.mark.parametrize(
    ("asked", "contexts", "error", "message"),
    [
        (Texts((), {}, "p.csv"), CONTEXTS, BadTexts, "p.csv has no prompts"),
        (Texts(("a", " "), {}, "p.csv"), CONTEXTS, BadTexts, "p.csv: prompt 1 is empty"),
        (prompts(2, id=("x", "x")), CONTEXTS, BadTexts, "two prompts have the same id"),
        (
            prompts(3, label=("a", "b", "c")),
            CONTEXTS,
            BadLabels,
            "the column label holds a, b, c; name the one",
        ),
        (prompts(), Texts(("a",), {}, "c.csv"), MissingColumn, "c.csv has no column kind"),
        (
            prompts(),
            Texts(("a",), {"kind": ("odd",)}, "c.csv"),
            BadTexts,
            "row 0 \\(from 0\\) has the kind 'odd'",
        ),
        (
            prompts(),
            Texts(("",), {"kind": ("related",)}, "c.csv"),
            BadTexts,
            "c.csv: row 0 \\(from 0\\) is empty",
        ),
        (prompts(), Texts((), {"kind": ()}, "c.csv"), BadTexts, "prompt 0 has no context"),
        (
            prompts(),
            Texts(("a",), {"kind": ("related",), "prompt": ("9",)}, "c.csv"),
            BadTexts,
            "row 0 \\(from 0\\) is for the prompt '9', which does not exist",
        ),
    ],
)
def test_what_cannot_be_audited_is_refused_before_anything_is_run(run, asked, contexts, error, message):
    with pytest.raises(error, match=message):
        run(asked, contexts)


def test_options_outside_their_range_are_refused(run):
    for option in ({"seed": -1}, {"max_tokens": True}, {"orders": True}):
        with pytest.raises(BadFeatures, match="whole number"):
            run(**option)


def test_a_page_that_would_be_one_of_the_files_beside_it_is_refused(run, tmp_path):
    with pytest.raises(CannotWrite, match=r"let it end in \.html"):
        run(output=tmp_path / "report.json")


def test_a_missing_package_is_named_before_anything_is_asked(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels.discrete.conditional_models", None)
    with pytest.raises(MissingPackage, match="needs statsmodels"):
        run(contexts=None)


def test_the_contexts_are_never_replaced(run, tmp_path):
    source = tmp_path / "contexts.parquet"
    source.write_bytes(b"theirs")
    contexts = Texts(CONTEXTS.texts, CONTEXTS.columns, str(source))
    with pytest.raises(OutputExists, match="it is the input"):
        run(contexts=contexts, output=tmp_path / "contexts.html", overwrite=True)
    assert source.read_bytes() == b"theirs"


def test_models_of_two_precisions_differ_by_rounding_of_the_coarser(run, tiny):
    coarse = tiny(dtype="bfloat16")
    for model, against in ((coarse, tiny()), (tiny(), coarse)):
        compared = run(
            prompts(1), model=model, against=against, max_tokens=0, sentences=1, orders=1
        ).comparison
        assert (compared.tolerance, compared.first_moved) == (0.02, None)
