"""Tests features/parts.py."""

import json
from dataclasses import replace

import numpy as np
import pytest
from splinelens.features.parts import Parts, writing

from splinelens.errors import CannotResume, CannotWrite
from splinelens.features.catalogue import columns, statistics
from splinelens.features.table import FeatureTable

REQUEST = {"model": "tiny", "spec": {"prompt": "a", "layers": [0, 1]}, "data_hash": "00"}


def table(rows=3, provenance=REQUEST):
    return FeatureTable(
        columns(statistics(["length"]), [], {}),
        np.arange(rows, dtype=np.float32)[:, None],
        np.arange(rows),
        np.zeros(rows, dtype=bool),
        (None,) * rows,
        provenance,
    )


@pytest.fixture
def output(tmp_path):
    return tmp_path / "deep" / "out.parquet"


def test_a_kept_part_is_found_by_a_later_run(output):
    Parts(output, REQUEST).keep(4, table())
    later = Parts(output, dict(reversed(REQUEST.items())))
    found = later.finished(4, 3)
    assert found.values.tobytes() == table().values.tobytes()
    assert found.provenance == REQUEST
    assert later.finished(3, 3) is None


def test_the_folder_stands_beside_the_output_and_goes_at_the_end(output):
    parts = Parts(output, REQUEST)
    parts.keep(0, table())
    folder = output.parent / "out.parquet.parts"
    assert sorted(place.name for place in folder.iterdir()) == ["000000.parquet", "run.json"]
    assert json.loads((folder / "run.json").read_text()) == REQUEST
    parts.discard()
    assert list(output.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spec": {"prompt": "b", "layers": [0, 1]}}, "spec.prompt was 'a' and is 'b'"),
        (
            {"spec": {"prompt": "a", "layers": [0]}, "model": "big"},
            r"model was 'tiny' and is 'big'; spec.layers was \[0, 1\] and is \[0\]",
        ),
        ({"device": "cuda:0"}, "device was None and is 'cuda:0'"),
    ],
)
def test_parts_of_another_request_are_refused_with_what_differs(output, change, said):
    Parts(output, REQUEST).keep(0, table())
    with pytest.raises(
        CannotResume, match=rf"out.parquet.parts holds parts of another run: {said}. Delete it to start anew"
    ):
        Parts(output, REQUEST | change)
    assert Parts(output, REQUEST).finished(0, 3) is not None


def test_tuples_in_a_request_are_what_json_makes_of_them(output):
    Parts(output, {"layers": (0, 1)}).keep(0, table(provenance={"layers": [0, 1]}))
    assert Parts(output, {"layers": (0, 1)}).finished(0, 3) is not None


@pytest.mark.parametrize("kept", [0, 10, 500])
def test_a_part_that_a_crash_cut_short_is_made_again(output, kept):
    parts = Parts(output, REQUEST)
    parts.keep(0, table())
    place = parts.folder / "000000.parquet"
    place.write_bytes(place.read_bytes()[:kept])
    assert parts.finished(0, 3) is None
    parts.keep(0, table())
    assert parts.finished(0, 3) is not None


def test_a_part_of_another_run_or_length_is_made_again(output):
    parts = Parts(output, REQUEST)
    parts.keep(0, table(provenance=REQUEST | {"model": "big"}))
    parts.keep(1, table(2))
    assert parts.finished(0, 3) is None
    assert parts.finished(1, 3) is None
    assert parts.finished(1, 2) is not None


def test_a_part_of_prefixes_counts_texts_and_not_rows(output):
    parts = Parts(output, REQUEST)
    rows = replace(table(5), text=np.array([3, 3, 3, 4, 5]), prefix=np.array([1, 2, 3, 0, 1]))
    parts.keep(0, rows)
    assert parts.finished(0, 3).prefix.tolist() == [1, 2, 3, 0, 1]
    assert parts.finished(0, 5) is None


@pytest.mark.parametrize("broken", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_record_that_a_crash_broke_is_written_again_and_good_parts_are_used(output, broken):
    Parts(output, REQUEST).keep(0, table())
    place = output.with_name("out.parquet.parts") / "run.json"
    place.write_bytes(broken)
    assert Parts(output, REQUEST).finished(0, 3) is not None
    assert json.loads(place.read_text()) == REQUEST


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CannotWrite, match=r"cannot write .*run.json: .*run the same command again"):
        Parts(tmp_path / "file" / "out.parquet", REQUEST)


def test_writing_turns_only_the_systems_refusal_into_ours(tmp_path):
    with (
        pytest.raises(
            CannotWrite, match=r"cannot write .*a: No space left on device. What was finished is kept"
        ),
        writing(tmp_path / "a"),
    ):
        raise OSError(28, "No space left on device")
    with pytest.raises(CannotWrite, match=r"cannot write .*a: odd"), writing(tmp_path / "a"):
        raise OSError("odd")
    with pytest.raises(KeyboardInterrupt), writing(tmp_path / "a"):
        raise KeyboardInterrupt
