"""Tests features/extract.py: one row a text, and that a killed run gives the same table in the end."""

import json
import os
import signal
import sys
import warnings
from functools import partial

import numpy as np
import pytest

from splinelens import Stream, __version__
from splinelens.errors import (
    BadCluster,
    BadFeatures,
    BadTexts,
    CannotResume,
    CannotWrite,
    MissingColumn,
    NoTokens,
    OutputExists,
)
from splinelens.features.catalogue import CATALOGUE
from splinelens.features.extract import extract, provenance, read_table
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.table import FeatureTable, joined
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
def small_chunks(monkeypatch):
    """Chunks of three texts, which are written one after the other."""
    monkeypatch.setattr("splinelens.features.reader.CHUNK", 3)


class Steps:
    """Collects progress; the run is killed as soon as so many texts were read."""

    def __init__(self, limit=None):
        self.limit, self.steps = limit, []

    def __call__(self, texts, characters):
        self.steps.append((texts, characters))
        if self.limit is not None and sum(count for count, _ in self.steps) >= self.limit:
            raise KeyboardInterrupt

    @property
    def characters(self):
        return sum(characters for _, characters in self.steps)

    def read(self):
        """Texts that were skipped at once, and those that were read one by one."""
        counts = [count for count, _ in self.steps]
        skipped = counts[0] if counts and counts[0] > 1 else 0
        assert set(counts[bool(skipped) :]) <= {1}
        return skipped, len(counts) - bool(skipped)


def same(one, other):
    assert one.columns == other.columns
    assert one.values.tobytes() == other.values.tobytes()
    assert (one.tokens.tolist(), one.cut.tolist()) == (other.tokens.tolist(), other.cut.tolist())
    assert one.reasons == other.reasons
    assert one.provenance == other.provenance


def test_a_cluster_without_ray_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    with pytest.raises(BadCluster, match=r"pip install 'splinelens\[scale\]'"):
        extract(["a"], "tiny", ray="local")


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
            single = extract([text], loaded, **OPTIONS)
            assert np.allclose(table.values[row], single.values[0], rtol=1e-4, atol=1e-5)
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
        single = extract([text[:end]], loaded, **OPTIONS)
        assert np.allclose(table.values[row], single.values[0], rtol=1e-4, atol=1e-5)


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


def test_prefixes_that_would_fill_the_memory_are_refused_before_anything_is_run(tiny_of, wrap):
    model, ran = tiny_of("llama", intermediate_size=4096), []
    model.register_forward_pre_hook(lambda *_: ran.append(1))
    options = {
        "features": ["margins", "occupancy"],
        "pooling": ["max", "min", "mean", "last"],
        "max_tokens": 64,
    }
    texts = ["you", "?!" * 4000, "!?" * 5000, ""]
    with pytest.raises(
        BadFeatures,
        match=r"the 18,001 prefixes of texts 0 to 3 \(text 2 has 10,000\) times 61,440 numbers take "
        r"4\.1 GiB, more than 4\. Read scalar features .*fewer layers or fewer texts.*splinelens\.Stream",
    ):
        extract(texts, wrap(model), **options, prefixes=True)
    assert ran == []
    assert len(extract(["you", "?!"], wrap(model), features=["sign_mean"], max_tokens=64, prefixes=True)) == 3


def test_a_killed_run_of_prefixes_resumes(loaded, tmp_path, small_chunks):
    whole = extract(TEXTS, loaded, **OPTIONS, prefixes=True)
    output = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        extract(TEXTS, loaded, **OPTIONS, prefixes=True, output=output, progress=Steps(7))
    with pytest.raises(CannotResume, match=r"another run: prefixes was True and is None"):
        extract(TEXTS, loaded, **OPTIONS, output=output)
    steps = Steps()
    again = extract(TEXTS, loaded, **OPTIONS, prefixes=True, output=output, progress=steps)
    assert steps.read() == (6, 4)
    for table in (again, FeatureTable.read(output)):
        same(table, whole)
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


def test_all_poolings_of_a_text_of_one_token_are_its_value(loaded):
    every = dict.fromkeys(row.pooling for row in CATALOGUE.values() if row.feature == "margins")
    table = extract(["a"], loaded, features=["margins"], pooling=list(every), layers=[1], max_tokens=64)
    first = table.column(table.names[0])
    assert len(table.names) == len(every) > 1
    assert np.abs(first).sum() > 0
    for name in table.names:
        np.testing.assert_allclose(table.column(name), first, rtol=1e-6)


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


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([-1], r"layers \[-1\] do not exist: they are counted from 0"),
        ([], "no layer to read; name at least one"),
        ([3], "cannot load 4 blocks: .* has 3, its layers are 0 to 2"),
    ],
)
@pytest.mark.parametrize("read", [partial(extract, ["a"]), Stream], ids=["extract", "stream"])
def test_layers_that_do_not_exist_are_refused(folder, layers, words, read):
    with pytest.raises(BadFeatures, match=words):
        read(folder, layers=layers)


def test_one_string_is_no_list_of_texts(loaded):
    with pytest.raises(BadTexts, match="texts is one string; give a list, or read_texts"):
        extract("comments.csv", loaded)


def test_no_text_at_all_is_refused(loaded):
    with pytest.raises(BadTexts, match="no rows"):
        extract([], loaded, max_tokens=64)
    with pytest.raises(NoTokens, match="nowhere has no texts; give at least one"):
        read_table(TextReader(loaded, FeatureSpec(max_tokens=64)), Texts((), {}, "nowhere"))


def test_progress_counts_every_text_and_character_once_and_chunks_change_nothing(loaded, small_chunks):
    steps = Steps()
    table = extract(TEXTS, loaded, **OPTIONS, progress=steps)
    assert steps.read() == (0, 10)
    assert steps.characters == sum(len(text or "") for text in TEXTS)
    same(table, extract(TEXTS, loaded, **OPTIONS))


def test_the_output_is_the_table_and_nothing_else_is_left(loaded, tmp_path, small_chunks):
    table = extract(TEXTS, loaded, **OPTIONS, output=tmp_path / "out.parquet")
    same(FeatureTable.read(tmp_path / "out.parquet"), table)
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_an_equal_run_reads_the_table_that_is_there(loaded, tmp_path):
    output, steps = tmp_path / "out.parquet", Steps()
    table = extract(TEXTS, loaded, **OPTIONS, output=output)
    same(extract(TEXTS, loaded, **OPTIONS, output=output, progress=steps), table)
    assert steps.steps == []
    with pytest.raises(OutputExists, match="it exists; name another file, or pass --overwrite"):
        extract(TEXTS, loaded, **OPTIONS, output=output, prompt="Hm")
    assert FeatureTable.read(output).provenance == table.provenance
    other = extract(TEXTS, loaded, **OPTIONS, output=output, prompt="Hm", overwrite=True, progress=steps)
    assert steps.read() == (0, 10)
    assert FeatureTable.read(output).provenance == other.provenance != table.provenance


@pytest.mark.parametrize("kind", ["prefixes", "spans", "texts"])
def test_on_demand_texts_that_failed_are_read_again_and_only_these(tiny_llama, wrap, tmp_path, kind):
    loaded, output = wrap(tiny_llama), tmp_path / "out.parquet"
    texts = Texts(("you", "~ garden", None, "the sea", "thing ~"), {"id": tuple("abcde")}, "list")
    spans = [[(0, 3)], [(0, 1), (2, 8)], None, [(0, 3)], [(0, 5)]]
    more = {"texts": {}, "prefixes": {"prefixes": True}, "spans": {"at": spans}}[kind]
    run = partial(extract, texts, loaded, **OPTIONS, **more, keep=["id"])
    whole = run()
    unk = loaded.tokenizer("~").input_ids[0]
    failing, read = [True], []

    def fail(module, arguments):
        ids = arguments[0]
        read.append(len(ids))
        if failing and (ids == unk).any():
            raise MemoryError

    tiny_llama.register_forward_pre_hook(fail)
    first = run(output=output)
    missing = set() if kind == "spans" else {"is missing"}
    assert {reason for reason in first.reasons if reason} == missing | {"does not fit into memory"}
    again = run(output=output, retry_failed=True)  # as before
    assert again.reasons == first.reasons
    failing.clear()
    read.clear()
    again = run(output=output, retry_failed=True)
    assert sum(read) == 2
    for table in (again, FeatureTable.read(output)):
        assert table.reasons == whole.reasons
        assert table.kept.to_pydict() == whole.kept.to_pydict()
        same(table, whole)
    read.clear()
    run(output=output, retry_failed=True)
    assert read == []  # a missing text stays missing
    with pytest.raises(CannotResume, match=r"holds rows of another run: eps was 0.1 and is 0.2\. Repeat"):
        run(output=output, retry_failed=True, eps=0.2)
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_reading_failed_texts_again_with_an_error_leaves_no_unfinished_run(tiny_llama, wrap, tmp_path):
    loaded, output = wrap(tiny_llama), tmp_path / "out.parquet"
    unk = loaded.tokenizer("~").input_ids[0]

    def fail(module, arguments):
        if (arguments[0] == unk).any():
            raise MemoryError

    def stop(*step):
        raise KeyboardInterrupt

    tiny_llama.register_forward_pre_hook(fail)
    run = partial(extract, ["you", "~"], loaded, **OPTIONS, output=output)
    run()
    with pytest.raises(KeyboardInterrupt):
        run(retry_failed=True, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_rows_of_a_table_can_stay_in_its_file(loaded, tmp_path):
    whole = extract(TEXTS, loaded, **OPTIONS, output=tmp_path / "out.parquet")
    for _ in ("written", "read"):
        table = extract(TEXTS, loaded, **OPTIONS, output=tmp_path / "b.parquet", load=False)
        assert (len(table), table.names, table.provenance) == (0, whole.names, whole.provenance)
    same(joined([*FeatureTable.batches(tmp_path / "b.parquet")]), whole)


def test_a_killed_run_resumes_after_its_last_whole_chunk(loaded, tmp_path, small_chunks):
    whole, output = extract(TEXTS, loaded, **OPTIONS), tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        extract(TEXTS, loaded, **OPTIONS, output=output, progress=Steps(8))
    assert not output.exists()
    assert len([*(tmp_path / "out.parquet.parts").glob("*.arrow")]) == 2
    steps = Steps()
    same(extract(TEXTS, loaded, **OPTIONS, output=output, progress=steps), whole)
    assert steps.read() == (6, 4)
    assert steps.characters == sum(len(text or "") for text in TEXTS)
    same(FeatureTable.read(output), whole)
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


@pytest.mark.parametrize(
    ("failing", "finished"),
    [(5, 0), (9, 3), (10, 3), (11, 6), (18, 10), (20, 10)],
    ids="request chunk folder manifest finished table".split(),
)
def test_on_a_full_disk_finished_chunks_are_kept(
    loaded, tmp_path, small_chunks, monkeypatch, failing, finished
):
    """Flushed are folder and file of everything that is written, and the line of each chunk."""
    whole, output = extract(TEXTS, loaded, **OPTIONS), tmp_path / "out.parquet"
    writes, plain = [], os.fsync

    def full(descriptor):
        writes.append(descriptor)
        if len(writes) == failing:
            raise OSError(28, "No space left on device")
        plain(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotWrite, match=r"cannot write .*: No space left on device; .*free space"):
        extract(TEXTS, loaded, **OPTIONS, output=output)
    assert not output.exists()
    steps = Steps()
    same(extract(TEXTS, loaded, **OPTIONS, output=output, progress=steps), whole)
    assert steps.read() == (finished, 10 - finished)
    same(FeatureTable.read(output), whole)


@pytest.mark.parametrize("options", [{}, {"prefixes": True}, {"at": True}])
def test_texts_of_a_chunk_are_stored_before_it_is_finished(loaded, tmp_path, monkeypatch, options):
    """Where every text takes longer than a checkpoint, a stopped run loses the one that it reads."""
    monkeypatch.setattr("splinelens.files.CHECKPOINT_SECONDS", 0)
    texts = [f"{number} in the garden of the long and winding road" for number in range(9)]
    texts[4] = ""
    options = OPTIONS | options | {"batch_tokens": 32}
    if "at" in options:
        options["at"] = [
            [(0, 1), (2, 4)] if text and number != 2 else [] for number, text in enumerate(texts)
        ]
    whole, output = extract(texts, loaded, **options), tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        extract(texts, loaded, **options, output=output, progress=Steps(7))
    steps = Steps()
    same(extract(texts, loaded, **options, output=output, progress=steps), whole)
    skipped, read = steps.read()
    assert skipped >= 5
    assert skipped + read == 9


def test_a_process_that_is_killed_between_two_texts_loses_seconds_and_no_bit(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr("splinelens.files.CHECKPOINT_SECONDS", 0)
    output, texts = tmp_path / "out.parquet", [f"{number} in the garden" for number in range(40)]
    options, read = OPTIONS | {"batch_tokens": 64}, []
    whole = extract(texts, loaded, **options)

    def kill(texts, characters):
        read.append(texts)
        if len(read) == 25:
            os.kill(os.getpid(), signal.SIGKILL)

    with warnings.catch_warnings(action="ignore"):  # of newer Pythons, where a process has threads
        pid = os.fork()
    if not pid:
        try:
            extract(texts, loaded, **options, output=output, progress=kill)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    steps = Steps()
    same(extract(texts, loaded, **options, output=output, progress=steps), whole)
    skipped, rest = steps.read()
    assert skipped + rest == 40
    assert skipped >= 20
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_another_request_is_not_mixed_with_the_rows_that_are_there(loaded, tmp_path, small_chunks):
    output = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        extract(TEXTS, loaded, **OPTIONS, output=output, progress=Steps(5))
    with pytest.raises(CannotResume, match=r"another run: prompt was '' and is 'Hm'"):
        extract(TEXTS, loaded, **OPTIONS, output=output, prompt="Hm")
    with pytest.raises(CannotResume, match=r"another run: the texts are others"):
        extract([*TEXTS[:-1], "other"], loaded, **OPTIONS, output=output)
    loaded.model.layers[0].mlp.gate_proj.weight[0] = 0
    changed = type(loaded)(loaded.model, loaded.tokenizer, "tiny", None, 3, 3)
    with pytest.raises(CannotResume, match=r"another run: fingerprint.weights was"):
        extract(TEXTS, changed, **OPTIONS, output=output)


def test_a_chunk_that_a_crash_cut_short_is_read_again(loaded, tmp_path, small_chunks):
    whole, output = extract(TEXTS, loaded, **OPTIONS), tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        extract(TEXTS, loaded, **OPTIONS, output=output, progress=Steps(8))
    chunk = tmp_path / "out.parquet.parts" / "000001.arrow"
    chunk.write_bytes(chunk.read_bytes()[:-40])
    steps = Steps()
    same(extract(TEXTS, loaded, **OPTIONS, output=output, progress=steps), whole)
    assert steps.read() == (3, 7)


def test_only_the_blocks_that_are_needed_are_loaded(default_model):
    table = extract(["Good morning."], default_model, layers=[0, 1])
    assert table.provenance["fingerprint"]["depth"] == 2
    shared = load_model(default_model, n_layers=3)
    assert np.allclose(table.values, extract(["Good morning."], shared, layers=[0, 1]).values, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "words"),
    [("a.csv", "end its name in .parquet"), ("x" * 300 + ".parquet", "choose another path")],
    ids=["ending", "long"],
)
def test_an_output_that_cannot_be_is_refused_before_a_model_is_loaded(tmp_path, name, words):
    with pytest.raises(CannotWrite, match=words):
        extract(TEXTS, "no-such-model", output=tmp_path / name)


def test_a_column_of_a_data_frame_is_joined_by_its_index():
    with pytest.raises(
        MissingColumn, match=r"join by the index of a data frame: table.to_pandas\(frame.index\)"
    ):
        extract(["a"], "no-such-model", keep=["id"])
