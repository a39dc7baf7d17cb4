"""Tests features/extract.py: the walk, and that a run which was killed gives the same table in the end."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from splinelens import __version__
from splinelens.errors import BadFeatures, BadTexts, CannotResume, CannotWrite, NoTokens
from splinelens.features import extract as walk
from splinelens.features.extract import extract, provenance, read_table
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.table import FeatureTable
from splinelens.models import load_model
from splinelens.texts import Texts

TEXTS = [
    "Good morning.",
    "",
    "the long and winding road",
    "a",
    None,
    "you",
    "in the garden",
    "x\0y",
    "th",
    "?!",
]
OPTIONS = {"features": ["spline7", "margins", "length"], "max_tokens": 64}


@pytest.fixture
def loaded(tiny_llama, wrap):
    return wrap(tiny_llama)


@pytest.fixture
def short(monkeypatch):
    """Stretches of three texts, and the list of those that were run."""
    monkeypatch.setattr(walk, "_STRETCH", 3)
    made, plain = [], walk._stretch

    def stretch(reader, texts, request, progress):
        made.append(list(texts))
        return plain(reader, texts, request, progress)

    monkeypatch.setattr(walk, "_stretch", stretch)
    return made


def same(one, other):
    assert one.columns == other.columns
    assert one.values.tobytes() == other.values.tobytes()
    assert (one.tokens.tolist(), one.cut.tolist()) == (other.tokens.tolist(), other.cut.tolist())
    assert one.reasons == other.reasons
    assert one.provenance == other.provenance


def test_one_row_a_text_in_input_order_with_reasons_for_the_unreadable(loaded):
    table = extract(TEXTS, loaded, **OPTIONS)
    assert len(table) == len(TEXTS)
    reasons = {1: "is empty", 4: "is missing", 7: "has a NUL character at position 1"}
    assert table.reasons == tuple(reasons.get(row) for row in range(10))
    for row, text in enumerate(TEXTS):
        if row in reasons:
            assert np.isnan(table.values[row]).all()
            assert table.tokens[row] == 0
        else:
            alone = extract([text], loaded, **OPTIONS)
            assert np.allclose(table.values[row], alone.values[0], rtol=1e-4, atol=1e-5)
            assert table.column("length")[row] == table.tokens[row] == len(loaded.tokenizer(text).input_ids)


def test_one_lone_surrogate_or_ten_megabytes_cost_their_own_row_only(loaded):
    table = extract(["ok", "a\ud83d", "y" * 10_000_000, "ok"], loaded, **OPTIONS)
    assert table.reasons[1] == "has a lone surrogate at position 1"
    assert table.reasons[2] == "has 10,000,000 characters, more than the limit of 1,000,000"
    assert table.ok.tolist() == [True, False, False, True]
    assert np.array_equal(table.values[0], table.values[3])


def test_rows_whose_values_are_not_finite_hold_nan_and_name_the_token(loaded):
    clean = extract(["in the garden", "you"], loaded, **OPTIONS)
    loaded.model.embed_tokens.weight[loaded.tokenizer("~").input_ids[0]] = float("inf")
    table = extract(["in the garden", "the ~", "you"], loaded, **OPTIONS)
    assert table.reasons == (
        None,
        "gives values that are not finite at layer 0, token 2 (characters 4 to 5)",
        None,
    )
    assert np.isnan(table.values[1]).all()
    assert table.tokens[1] == len(loaded.tokenizer("the ~").input_ids)
    assert np.array_equal(table.values[[0, 2]], clean.values)


def test_the_cut_is_flagged_and_the_whole_length_counted(loaded):
    table = extract(["abcdefgh", "abc"], loaded, max_tokens=4, long="cut", features=["length", "sign_mean"])
    assert table.cut.tolist() == [True, False]
    assert table.tokens.tolist() == table.column("length").tolist() == [8, 3]
    assert not extract(["abcdefgh"], loaded, max_tokens=4).cut.any()


def test_every_prefix_of_every_text_has_a_row(loaded):
    table = extract(TEXTS, loaded, **OPTIONS, prefixes=True)
    whole = extract(TEXTS, loaded, **OPTIONS)
    tokens = [len(loaded.tokenizer(text).input_ids) if text else 0 for text in TEXTS]
    tokens[7] = 0  # it has a NUL character
    expected = [(text, n + 1) for text, count in enumerate(tokens) for n in range(count)]
    expected = sorted([*expected, (1, 0), (4, 0), (7, 0)])
    assert list(zip(table.text.tolist(), table.prefix.tolist(), strict=True)) == expected
    assert [table.reasons[row] for row in table.whole] == list(whole.reasons)
    assert np.allclose(table.values[table.whole], whole.values, rtol=1e-4, atol=1e-5, equal_nan=True)
    assert table.tokens[table.whole].tolist() == whole.tokens.tolist()
    assert np.array_equal(table.column("length")[table.ok], table.prefix[table.ok])
    assert table.provenance == whole.provenance | {"prefixes": True}


def test_a_prefix_is_what_the_text_would_give_if_it_ended_there(loaded):
    text = "in the garden you"
    table = extract(["a", text], loaded, **OPTIONS, prefixes=True)
    offsets = loaded.tokenizer(text, return_offsets_mapping=True).offset_mapping
    for row in np.flatnonzero(table.text == 1):
        end = offsets[table.prefix[row] - 1][1]
        if len(loaded.tokenizer(text[:end]).input_ids) != table.prefix[row]:
            continue  # cut there, the text has other tokens
        alone = extract([text[:end]], loaded, **OPTIONS)
        assert np.allclose(table.values[row], alone.values[0], rtol=1e-4, atol=1e-5)


def test_a_text_that_fails_keeps_the_prefixes_before_that(loaded):
    loaded.model.embed_tokens.weight[loaded.tokenizer("~").input_ids[0]] = float("inf")
    table = extract(["the ~ you", "you"], loaded, **OPTIONS, prefixes=True)
    assert table.text.tolist() == [0] * (len(table) - 1) + [1]
    failed = table.text == 0
    assert not table.ok[np.flatnonzero(failed)[2:]].any()
    assert table.ok[-1]
    assert {reason for reason in table.reasons if reason} == {
        "gives values that are not finite at layer 0, token 2 (characters 4 to 5)"
    }
    assert np.isnan(table.values[~table.ok]).all()
    assert np.isfinite(table.values[table.ok]).all()


def test_prefixes_that_would_fill_the_memory_are_refused_before_anything_is_run(loaded, monkeypatch):
    monkeypatch.setattr(walk, "_MOST_BYTES", 10_000)
    ran = []
    loaded.model.register_forward_pre_hook(lambda *_: ran.append(1))
    with pytest.raises(
        BadFeatures,
        match=r"the \d+ prefixes of texts 0 to 9 \(text 2 alone has \d+\) times 166 numbers take 0\.0 GiB, "
        r"more than 0\. Read scalar features .*fewer layers or fewer texts.*splinelens\.Stream",
    ):
        extract(TEXTS, loaded, **OPTIONS, prefixes=True)
    assert ran == []
    assert len(extract(TEXTS, loaded, features=["sign_mean"], max_tokens=64, prefixes=True)) > 30


def test_a_run_of_prefixes_that_was_killed_goes_on(loaded, tmp_path, short):
    whole = extract(TEXTS, loaded, **OPTIONS, prefixes=True)

    def kill(*_):
        if len(parts()) == 2:
            raise KeyboardInterrupt

    def parts():
        return sorted((tmp_path / "out.parquet.parts").glob("*.parquet"))

    output = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        extract(TEXTS, loaded, **OPTIONS, prefixes=True, output=output, progress=kill)
    with pytest.raises(CannotResume, match=r"another run: prefixes was True and is None"):
        extract(TEXTS, loaded, **OPTIONS, output=output)
    kept = [part.stat().st_mtime_ns for part in parts()]
    steps = []
    again = extract(
        TEXTS, loaded, **OPTIONS, prefixes=True, output=output, progress=lambda *step: steps.append(step)
    )
    assert len(kept) == 2
    assert sum(texts for texts, _ in steps) == 10
    same(again, whole)
    for table in (again, FeatureTable.read(output)):
        assert (table.text.tolist(), table.prefix.tolist()) == (whole.text.tolist(), whole.prefix.tolist())


def test_the_threshold_reaches_the_numbers_and_the_provenance(loaded):
    few, many = (
        extract(["in the garden you"], loaded, features=["attention_id"], max_tokens=64, eps=eps)
        for eps in (0.5, 0.01)
    )
    assert (few.values < many.values).any()
    assert (few.values <= many.values).all()
    assert many.provenance["spec"]["eps"] == 0.01


def test_normalizing_reaches_the_numbers_and_the_provenance(loaded):
    plain, read = (
        extract([text], loaded, max_tokens=64, normalize=True) for text in ("the garden", "thе g\u200barden")
    )
    assert np.array_equal(plain.values, read.values)
    assert read.provenance["spec"]["normalize"] is True
    assert "normalize" not in extract(["the garden"], loaded, max_tokens=64).provenance["spec"]


def test_a_threshold_outside_its_range_shows_before_a_model_is_looked_for():
    with pytest.raises(BadFeatures, match=r"eps is 0\.0; pass a number above 0 and below 1"):
        extract(["a"], "no-such-model", features=["attention_id"], eps=0.0)


def test_layers_prompt_and_pooling_reach_the_table(loaded):
    table = extract(
        ["a"],
        loaded,
        features=["margins"],
        layers=[2, 0, 2],
        pooling=["min", "last"],
        prompt="Hm",
        max_tokens=64,
    )
    assert table.names == [
        "layer00.margin_min",
        "layer00.margin_last",
        "layer02.margin_min",
        "layer02.margin_last",
    ]
    assert table.provenance["spec"]["prompt"] == "Hm"
    assert table.provenance["spec"]["layers"] == [0, 2]
    assert not np.array_equal(
        table.values,
        extract(
            ["a"], loaded, features=["margins"], layers=[0, 2], pooling=["min", "last"], max_tokens=64
        ).values,
    )


@pytest.mark.parametrize(
    ("name", "way", "left_out"),
    [("llama", "scores", []), ("bloom", "weights", []), ("qwen3_next", "scores", [0, 2])],
)
def test_provenance_says_what_attention_id_was_read_of_and_where_it_was_not(
    tiny_of, wrap, name, way, left_out
):
    loaded = wrap(tiny_of(name))
    record = extract(["the thing"], loaded, features=["attention_id", "sign_mean"], max_tokens=64).provenance
    assert (record["attention"], record["layers_left_out"]) == (way, left_out)
    plain = extract(["the thing"], loaded, features=["sign_mean"], max_tokens=64).provenance
    assert not {"attention", "layers_left_out"} & plain.keys()


def test_provenance_is_plain_json_and_equal_for_equal_runs(loaded):
    reader = TextReader(loaded, FeatureSpec(max_tokens=64))
    record = provenance(reader, Texts(("a", None), {}, "list"))
    assert json.loads(json.dumps(record)) == record
    assert record == provenance(reader, Texts(("a", None), {}, "other place"))
    assert record != provenance(reader, Texts(("a", ""), {}, "list"))
    assert (record["splinelens"], record["model"], record["texts"], record["device"]) == (
        __version__,
        "tiny",
        2,
        "cpu",
    )
    assert record["fingerprint"] == loaded.fingerprint.to_dict()
    assert FeatureSpec.from_dict(record["spec"]) == reader.spec


def test_a_wrong_name_shows_before_a_model_is_looked_for():
    with pytest.raises(BadFeatures, match="no feature 'marginz'; did you mean margins"):
        extract(["a"], "no-such-model", features=["marginz"])


def test_one_string_is_no_list_of_texts(loaded):
    with pytest.raises(BadTexts, match="texts is one string; give a list of texts, or read_texts"):
        extract("comments.csv", loaded)


def test_no_text_at_all_is_refused(loaded):
    with pytest.raises(BadTexts, match="no rows"):
        extract([], loaded, max_tokens=64)
    with pytest.raises(NoTokens, match="nowhere has no texts; give at least one"):
        read_table(TextReader(loaded, FeatureSpec(max_tokens=64)), Texts((), {}, "nowhere"))


def test_progress_counts_every_text_and_character_once(loaded, short):
    calls = []
    table = extract(TEXTS, loaded, **OPTIONS, progress=lambda *step: calls.append(step))
    assert len(calls) > 7  # within a stretch too
    assert [sum(step) for step in zip(*calls, strict=True)] == [10, sum(len(text or "") for text in TEXTS)]
    same(table, extract(TEXTS, loaded, **OPTIONS))


def test_the_output_is_the_table_and_nothing_else_is_left(loaded, tmp_path, short):
    table = extract(TEXTS, loaded, **OPTIONS, output=tmp_path / "out.parquet")
    same(FeatureTable.read(tmp_path / "out.parquet"), table)
    assert [place.name for place in tmp_path.iterdir()] == ["out.parquet"]
    assert short == [TEXTS[0:3], TEXTS[3:6], TEXTS[6:9], TEXTS[9:]]


def test_a_run_killed_by_ctrl_c_goes_on_where_it_stopped(loaded, tmp_path, short):
    whole = extract(TEXTS, loaded, **OPTIONS)
    short.clear()
    seen = []

    def kill(texts, _):
        seen.append(texts)
        if sum(seen) > 7:
            raise KeyboardInterrupt

    output = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        extract(TEXTS, loaded, **OPTIONS, output=output, progress=kill)
    assert not output.exists()
    assert sorted(place.name for place in (tmp_path / "out.parquet.parts").glob("*.parquet")) == [
        "000000.parquet",
        "000001.parquet",
    ]
    assert len(short) == 3
    short.clear()
    steps = []
    again = extract(TEXTS, loaded, **OPTIONS, output=output, progress=lambda *step: steps.append(step))
    assert short == [TEXTS[6:9], TEXTS[9:]]  # finished stretches are not run again
    assert sum(texts for texts, _ in steps) == 10
    same(again, whole)
    same(FeatureTable.read(output), whole)
    assert [place.name for place in tmp_path.iterdir()] == ["out.parquet"]


@pytest.mark.parametrize("failing", [2, 5])  # the second part, the finished table
def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_room(
    loaded, tmp_path, short, monkeypatch, failing
):
    whole = extract(TEXTS, loaded, **OPTIONS)
    short.clear()
    writes, plain = [], pq.write_table

    def full(data, where, **options):
        writes.append(where)
        if len(writes) == failing:
            where.write_bytes(b"PAR1 and then no more")
            raise OSError(28, "No space left on device")
        plain(data, where, **options)

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(CannotWrite, match=r"No space left on device. What was finished is kept; free space"):
        extract(TEXTS, loaded, **OPTIONS, output=tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()
    short.clear()
    same(extract(TEXTS, loaded, **OPTIONS, output=tmp_path / "out.parquet"), whole)
    assert len(short) == (3 if failing == 2 else 0)
    same(FeatureTable.read(tmp_path / "out.parquet"), whole)


def test_another_request_is_not_mixed_with_the_parts_that_are_there(loaded, tmp_path, short):
    def kill(*_):
        if len(short) == 2:
            raise KeyboardInterrupt

    output = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        extract(TEXTS, loaded, **OPTIONS, output=output, progress=kill)
    with pytest.raises(CannotResume, match=r"another run: spec.prompt was '' and is 'Hm'"):
        extract(TEXTS, loaded, **OPTIONS, output=output, prompt="Hm")
    with pytest.raises(
        CannotResume, match=r"another run: data_hash was '[0-9a-f]{64}' and is '[0-9a-f]{64}'"
    ):
        extract([*TEXTS[:-1], "other"], loaded, **OPTIONS, output=output)
    loaded.model.layers[0].mlp.gate_proj.weight[0] = 0
    changed = type(loaded)(loaded.model, loaded.tokenizer, "tiny", None, 3, 3)
    with pytest.raises(CannotResume, match=r"another run: fingerprint.weights was"):
        extract(TEXTS, changed, **OPTIONS, output=output)


def test_a_part_that_a_crash_cut_short_is_made_again(loaded, tmp_path, short):
    whole = extract(TEXTS, loaded, **OPTIONS)

    def kill(*_):
        if len(short) == 7:  # four stretches above, three here
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(TEXTS, loaded, **OPTIONS, output=tmp_path / "out.parquet", progress=kill)
    part = tmp_path / "out.parquet.parts" / "000000.parquet"
    part.write_bytes(part.read_bytes()[:-40])
    short.clear()
    same(extract(TEXTS, loaded, **OPTIONS, output=tmp_path / "out.parquet"), whole)
    assert short == [TEXTS[0:3], TEXTS[6:9], TEXTS[9:]]


def test_only_the_blocks_that_are_needed_are_loaded(default_model):
    table = extract(["Good morning."], default_model, layers=[0, 1])
    assert table.provenance["fingerprint"]["depth"] == 2
    shared = load_model(default_model, layers=3)
    assert np.allclose(table.values, extract(["Good morning."], shared, layers=[0, 1]).values, atol=1e-5)
