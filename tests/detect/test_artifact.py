"""Tests ``detect/artifact.py``: a detector comes back from disk as it was, or not at all."""

import ast
import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

import splinelens.detect
from splinelens.detect.anchored import Sample
from splinelens.detect.artifact import Artifact
from splinelens.detect.shipped import PURPOSES, shipped
from splinelens.errors import BadDetector, BrokenArtifact, CannotWrite
from splinelens.geometry.directions import Directions

ROOM = Path(splinelens.detect.__file__).parent


def rewrite(folder, change):
    """Change the manifest and give it a hash that fits, as a careful attacker would."""
    path = folder / "detector.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    hashed = sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    path.write_text(
        json.dumps({"sha256": hashed} | manifest | ({"sha256": hashed} if "sha256" in manifest else {}))
    )


def exchange_arrays(folder, data):
    """Other arrays, with a manifest that fits their size and hash."""
    (folder / "detector.safetensors").write_bytes(data)
    fitting = {"size_bytes": len(data), "sha256": sha256(data).hexdigest()}
    rewrite(folder, lambda manifest: manifest.update(arrays=fitting))


def parsed(data):
    try:
        return json.loads(data)
    except ValueError:
        return None


def plain(artifact):
    """All of it that is no array."""
    return {key: value for key, value in vars(artifact).items() if key not in ("head", "seen")}


def test_an_artifact_comes_back_bit_by_bit(artifact, folder):
    again = Artifact.load(folder)
    assert plain(again) == plain(artifact)
    assert again.seen.tobytes() == artifact.seen.tobytes()
    for name, array in artifact.head.arrays().items():
        found = again.head.arrays()[name]
        assert (found.dtype, found.tobytes()) == (array.dtype, array.tobytes())


def test_learned_directions_come_back_bit_by_bit_and_count_in_the_digest(artifact, directed, tmp_path):
    directed.save(tmp_path)
    again, known = Artifact.load(tmp_path), directed.directions
    assert (again.directions.weight.dtype, again.directions.bias.dtype) == (np.float16, np.float32)
    assert again.directions.digest == known.digest
    assert again.digest == directed.digest
    assert again.inseparable is None
    moved = replace(directed, directions=Directions(known.weight, known.bias + 1))
    wider = replace(directed, directions=Directions(known.weight.astype(np.float32), known.bias))
    bare = replace(directed, directions=None)
    assert len({each.digest for each in (directed, moved, wider, bare)}) == 4


def test_only_the_layers_that_a_direction_reads_take_space(directed, tmp_path):
    weight = directed.directions.weight.copy()
    weight[0, 0] = weight[2, 1] = 0
    sparse = replace(directed, directions=Directions(weight, directed.directions.bias))
    sparse.save(tmp_path)
    arrays = load_arrays((tmp_path / "detector.safetensors").read_bytes())
    assert arrays["directions.weight"].shape == (4, weight.shape[2])
    assert Artifact.load(tmp_path).directions.weight.tobytes() == weight.tobytes()


@pytest.mark.parametrize("layers", [[0, 1], [2, 0], [0, 1, 2], None], ids=str)
def test_other_layers_than_the_directions_were_fitted_on_are_refused(directed, tmp_path, layers):
    directed.save(tmp_path)
    assert directed.spec["layers"] == [0, 2]
    rewrite(tmp_path, lambda manifest: manifest["spec"].update(layers=layers))
    with pytest.raises(BrokenArtifact, match=r"were fitted on \[0, 2\]"):
        Artifact.load(tmp_path)


def test_each_shipped_detector_has_a_purpose():
    assert list(PURPOSES) == list(shipped())


def test_the_shipped_directions_have_their_layers_beside_them():
    names = []
    for name, place in shipped().items():
        arrays = load_arrays((place / "detector.safetensors").read_bytes())
        if "directions.weight" in arrays:
            names.append(name)
            assert arrays["directions.layers"].tolist() == Artifact.load(place).spec["layers"]
    assert names == ["toxicity", "toxicity-fast", "types"]


def test_directions_saved_without_their_layers_still_load(directed, tmp_path):
    directed.save(tmp_path)
    arrays = load_arrays((tmp_path / "detector.safetensors").read_bytes())
    assert arrays.pop("directions.layers").tolist() == directed.spec["layers"]
    exchange_arrays(tmp_path, save_arrays(arrays))
    assert Artifact.load(tmp_path).digest == directed.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"directions.weight": None, "directions.bias": None, "directions.read": None},
            "direction_max, direction_mean without dir",
        ),
        ({"directions.bias": None}, "does not hold arrays that can be read: 'directions.bias'"),
        ({"directions.weight": None}, "does not hold arrays that can be read: 'directions.weight'"),
        ({"directions.read": None}, "does not hold arrays that can be read: 'directions.read'"),
        ({"directions.weight": np.ones((3, 2, 8), np.float32)}, "do not belong together"),
        ({"directions.weight": np.ones((5, 8), np.float32)}, "do not belong together"),
        ({"directions.read": np.ones((3, 2), np.uint8)}, "do not belong together"),
        (
            {"directions.weight": np.ones((3, 8), np.float32), "directions.read": np.ones((3, 1), bool)},
            "across 1 layers, where the spec has 2",
        ),
        ({"directions.weight": np.ones((6, 8))}, "weight of directions is float64"),
        ({"directions.weight": np.full((6, 8), np.nan, np.float32)}, "weight .* not finite"),
        ({"directions.bias": np.full(3, np.inf, np.float32)}, "bias .* not finite"),
        (
            {
                "directions.weight": np.ones((4, 8), np.float32),
                "directions.read": np.ones((2, 2), bool),
                "directions.bias": np.ones(2, np.float32),
            },
            "2 directions beside columns",
        ),
    ],
    ids=[
        *("none", "bias", "weight", "read", "three axes", "too few", "integers", "layers", "double", "nan"),
        *("infinite", "count"),
    ],
)
def test_damaged_directions_are_refused(directed, tmp_path, change, message):
    directed.save(tmp_path)
    arrays = load_arrays((tmp_path / "detector.safetensors").read_bytes()) | change
    kept = {name: array for name, array in arrays.items() if array is not None}
    exchange_arrays(tmp_path, save_arrays(kept))
    with pytest.raises(BrokenArtifact, match=message):
        Artifact.load(tmp_path)


def test_a_sample_of_training_rows_comes_back_and_decides_no_score(artifact, tmp_path):
    assert artifact.sample is None
    rows = np.random.default_rng(0).normal(size=(4, artifact.head.width)).astype(np.float16)
    known = replace(artifact, sample=Sample(rows, np.arange(4, dtype=np.float32)))
    known.save(tmp_path)
    again = Artifact.load(tmp_path)
    assert again.sample.rows.tobytes() == rows.tobytes()
    assert again.sample.logits.tolist() == [0, 1, 2, 3]
    assert again.digest == known.digest == artifact.digest


@pytest.mark.parametrize(
    ("rows", "logits", "message"),
    [
        (np.ones((4, 2), np.float32), np.ones(4, np.float32), "rows of a sample are not finite float16"),
        (np.full((4, 2), np.inf, np.float16), np.ones(4, np.float32), "rows of a sample are not finite"),
        (np.ones(4, np.float16), np.ones(4, np.float32), "rows of a sample are not finite float16 of 2 axes"),
        (np.ones((4, 2), np.float16), np.ones(4), "logits of a sample are not finite float32"),
        (np.ones((4, 2), np.float16), np.ones(3, np.float32), "a sample has 4 rows and 3 logits"),
        (np.ones((0, 2), np.float16), np.ones(0, np.float32), "a sample has 0 rows"),
        (np.ones((4, 99), np.float16), np.ones(4, np.float32), "a sample of 99 columns beside a head of"),
        (np.ones((4, 2), np.float16), None, "can be read: 'sample.logits'"),
    ],
    ids=["float32", "infinite", "flat", "double", "lengths", "empty", "width", "none"],
)
def test_a_damaged_sample_is_refused(artifact, folder, rows, logits, message):
    arrays = artifact.head.arrays() | {"sample.rows": rows, "sample.logits": logits}
    exchange_arrays(folder, save_arrays({key: array for key, array in arrays.items() if array is not None}))
    with pytest.raises(BrokenArtifact, match=message):
        Artifact.load(folder)


def test_directions_that_no_column_reads_are_refused(artifact, directed, tmp_path):
    replace(artifact, directions=directed.directions).save(tmp_path)
    with pytest.raises(BrokenArtifact, match="3 directions beside columns that read none"):
        Artifact.load(tmp_path)


def test_saving_again_writes_the_same_bytes(folder, tmp_path):
    Artifact.load(folder).save(tmp_path / "again")
    for name in ("detector.json", "detector.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_the_manifest_is_strict_json(artifact, tmp_path):
    metrics = {
        "nan": float("nan"),
        "inf": [np.float32("inf"), (1, np.int64(2))],
        "flag": np.bool_(True),
        "x": np.float64(0.5),
    }
    replace(artifact, metrics=metrics).save(tmp_path)
    manifest = json.loads((tmp_path / "detector.json").read_text(), parse_constant=pytest.fail)
    assert manifest["metrics"] == {"nan": None, "inf": [None, [1, 2]], "flag": True, "x": 0.5}
    assert manifest["schema"] == 3


def test_nothing_but_the_two_files_is_left(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["detector.json", "detector.safetensors"]


def test_a_newer_detector_replaces_the_one_before(artifact, folder):
    replace(artifact, name="newer", head=replace(artifact.head, bias=np.array([7.0]))).save(folder)
    again = Artifact.load(folder)
    assert (again.name, again.head.bias[0]) == ("newer", 7.0)


@pytest.mark.parametrize("full_at", [1, 2])
def test_a_full_disk_leaves_no_half_artifact(artifact, tmp_path, monkeypatch, full_at):
    fill_disk(monkeypatch, full_at)
    with pytest.raises(CannotWrite, match=r"cannot write .*made.*: No space left on device; free"):
        artifact.save(tmp_path / "made")
    assert list((tmp_path / "made").iterdir()) == []


@pytest.mark.parametrize("full_at", [1, 2])
def test_a_full_disk_leaves_the_artifact_before_whole(artifact, folder, monkeypatch, full_at):
    fill_disk(monkeypatch, full_at)
    with pytest.raises(CannotWrite):
        replace(artifact, name="newer").save(folder)
    assert Artifact.load(folder).name == "ärger"
    assert len(list(folder.iterdir())) == 2


def fill_disk(monkeypatch, full_at):
    """The write of this number writes one byte and finds no room for more."""
    calls, write_bytes = [], Path.write_bytes

    def write(path, data):
        calls.append(path)
        if len(calls) == full_at:
            write_bytes(path, data[:1])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", write)


def test_a_folder_that_is_a_file_cannot_be_written(artifact, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(CannotWrite, match=r"cannot write .*taken: File exists"):
        artifact.save(tmp_path / "taken")


@pytest.mark.parametrize("name", ["detector.json", "detector.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(
        BrokenArtifact, match=rf"{name} cannot be read: No such file .*; a detector is a folder"
    ):
        Artifact.load(folder)


@pytest.mark.parametrize("target", [None, "/dev/zero"], ids=["pipe", "device"])
@pytest.mark.parametrize("name", ["detector.json", "detector.safetensors"])
def test_what_may_have_no_end_is_not_read(folder, name, target):
    (folder / name).unlink()
    (folder / name).symlink_to(target) if target else os.mkfifo(folder / name)
    with pytest.raises(BrokenArtifact, match=rf"{name} is no file; a detector is a folder with"):
        Artifact.load(folder)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda model: model.pop("name"), "model.name"),
        (lambda model: model.update(name=3), "model.name"),
        (lambda model: model.update(fingerprint=[]), "model.fingerprint"),
        (lambda model: model.update(revision=1), "model.revision"),
        (lambda model: model.update(more=1), "model.more"),
    ],
    ids=["missing", "name", "fingerprint", "revision", "more"],
)
def test_a_damaged_record_of_the_model_is_refused(folder, change, where):
    rewrite(folder, lambda manifest: change(manifest["model"]))
    with pytest.raises(BrokenArtifact, match=rf"detector\.json is damaged at '{where}'"):
        Artifact.load(folder)


@pytest.mark.parametrize("seen", [-1, "x", None, True, {"texts": 3}, {"texts": 3, "kept": "3"}], ids=str)
def test_damaged_counts_of_seen_texts_are_refused(folder, seen):
    rewrite(folder, lambda manifest: manifest["training"].update(seen=seen))
    with pytest.raises(BrokenArtifact, match=r"detector\.json is damaged at 'training\.seen\."):
        Artifact.load(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BrokenArtifact, match=r"nowhere.detector\.json cannot be read: No such file"):
        Artifact.load(tmp_path / "nowhere")


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("name", ["detector.json", "detector.safetensors"])
def test_a_file_cut_short_is_refused(folder, name, kept):
    data = (folder / name).read_bytes().rstrip()
    (folder / name).write_bytes(data[: int(kept * len(data))])
    with pytest.raises(BrokenArtifact, match=rf"{name} .*perhaps cut short|{name} .*: cut short\?"):
        Artifact.load(folder)


@pytest.mark.parametrize("name", ["detector.json", "detector.safetensors"])
def test_one_changed_byte_is_refused_wherever_it_is(folder, name):
    data = (folder / name).read_bytes()
    values = json.loads(data) if name.endswith(".json") else None
    for index in range(0, len(data), 7):
        edited = bytearray(data)
        edited[index] ^= 1
        if values and parsed(edited) == values:
            continue  # the last digit of a float may say nothing
        (folder / name).write_bytes(edited)
        with pytest.raises(BrokenArtifact, match=re.escape(name)):
            Artifact.load(folder)


def test_an_edited_number_is_refused(folder):
    path = folder / "detector.json"
    path.write_text(path.read_text().replace('"target": 0.01', '"target": 0.02'))
    with pytest.raises(
        BrokenArtifact, match=r"detector\.json does not have the hash that it states: damaged"
    ):
        Artifact.load(folder)


def test_edited_arrays_are_refused(folder):
    path = folder / "detector.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(
        BrokenArtifact, match=r"safetensors does not have the hash that detector\.json states"
    ):
        Artifact.load(folder)


@pytest.mark.parametrize("schema", [0, 1, 2, 4, "3", None, [3]])
def test_another_schema_is_refused(folder, schema):
    rewrite(folder, lambda manifest: manifest.update(schema=schema))
    with pytest.raises(
        BrokenArtifact, match=r"detector\.json has schema .*; this version reads 3; fetch or train"
    ):
        Artifact.load(folder)


def test_the_schema_before_is_refused_by_its_age(folder):
    rewrite(folder, lambda manifest: manifest.update(schema=2))
    with pytest.raises(
        BrokenArtifact, match=r"schema 2; made by an older version; .* train the detector again"
    ):
        Artifact.load(folder)


@pytest.mark.parametrize(
    "text",
    [b"[]", b"3", b"null", b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"\x00"],
    ids=lambda text: repr(text[:8]),
)
def test_what_is_no_manifest_is_refused(folder, text):
    (folder / "detector.json").write_bytes(text)
    with pytest.raises(BrokenArtifact, match=r"detector\.json (is not JSON|has schema None)"):
        Artifact.load(folder)


def test_values_as_deep_as_the_reader_can_go_are_refused(folder):
    path = folder / "detector.json"
    text = path.read_text()
    for depth in (*range(700, 1000), *range(9_000, 11_000, 200)):  # where Python's limits lie
        path.write_text(text.replace('"rows": 10', f'"rows": {"[" * depth}{"]" * depth}'))
        with pytest.raises(BrokenArtifact, match=r"detector\.json (is not JSON|does not have the hash)"):
            Artifact.load(folder)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_of_json_is_refused(folder, number):
    path = folder / "detector.json"
    path.write_text(path.read_text().replace('"auc": 0.9', f'"auc": {number}'))
    with pytest.raises(BrokenArtifact, match=rf"detector\.json is not JSON.*{number} is no JSON number"):
        Artifact.load(folder)


@pytest.mark.parametrize("name", ["detector.json", "detector.safetensors"])
def test_a_huge_file_is_refused_before_it_is_read(folder, name, monkeypatch):
    with (folder / name).open("r+b") as file:
        file.truncate(2_000_000_000)  # sparse: takes no room on disk
    read_bytes = Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: pytest.fail("was read") if path.name == name else read_bytes(path)
    )
    with pytest.raises(BrokenArtifact, match=rf"{name} has 2,000,000,000 bytes, more than the"):
        Artifact.load(folder)


KEYS = (
    "name task labels negative model spec features_dtype engine columns calibrations thresholds training "
    "metrics command version"
).split()
OPTIONAL = ("engine", "training", "metrics", "command", "version")


@pytest.mark.parametrize("key", [key for key in KEYS if key not in OPTIONAL])
def test_a_missing_key_is_named(folder, key):
    rewrite(folder, lambda manifest: manifest.pop(key))
    with pytest.raises(BrokenArtifact, match=rf"detector\.json is damaged at '{key}': Field required"):
        Artifact.load(folder)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("sha256", "does not have the hash"),
        ("head", "head None is unknown"),
        ("arrays", "damaged at 'arrays'"),
    ],
)
def test_a_missing_key_around_the_values_is_named(folder, key, message):
    path = folder / "detector.json"
    rewrite(folder, lambda manifest: manifest.pop(key))
    if key == "sha256":  # rewrite has put one back
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "sha256"}))
    with pytest.raises(BrokenArtifact, match=message):
        Artifact.load(folder)


def test_an_unknown_key_is_named(folder):
    rewrite(folder, lambda manifest: manifest.update(more=1))
    with pytest.raises(BrokenArtifact, match=r"detector\.json is damaged at 'more': Unexpected keyword"):
        Artifact.load(folder)


@pytest.mark.parametrize("value", [3, None, True, 0.5])
@pytest.mark.parametrize("key", [*KEYS, "arrays"])
def test_a_value_of_the_wrong_type_is_named(folder, key, value):
    rewrite(folder, lambda manifest: manifest.update({key: value}))
    with pytest.raises(BrokenArtifact, match=rf"detector\.json is damaged at '{key}': Input should be"):
        Artifact.load(folder)


THRESHOLD = {"target": 0.01, "score": 0.9, "rate": 0.0, "interval": [0.0, 0.1], "recall": 0.5}


@pytest.mark.parametrize(
    "change",
    [
        {"columns": [3]},
        {"columns": [["a", 6, 7]]},
        {"columns": [["a", "6"]]},
        {"columns": [["a", -6]]},
        {"columns": [["a", True]]},
        {"columns": [[None, 6]]},
        {"labels": [3]},
        {"task": "many"},
        {"min_tokens": -1},
        {"min_tokens": 1.5},
        {"min_score": "0.5"},
        {"calibrations": [3]},
        {"calibrations": [{}]},
        {"calibrations": [{"slope": 1.0}]},
        {"calibrations": [{"slope": "1", "intercept": 0.0}]},
        {"calibrations": [{"slope": 10**400, "intercept": 0.0}]},
        {"calibrations": [{"slope": True, "intercept": 0.0}]},
        {"thresholds": [3]},
        {"thresholds": [[3]]},
        {"thresholds": [[{}]]},
        {"thresholds": [[THRESHOLD | {"interval": 3}]]},
        {"thresholds": [[THRESHOLD | {"interval": [0.1]}]]},
        {"thresholds": [[THRESHOLD | {"score": None}]]},
        {"arrays": {}},
        {"arrays": {"size_bytes": "3", "sha256": "ab"}},
        {"arrays": {"size_bytes": 3, "sha256": None}},
    ],
    ids=str,
)
def test_a_damaged_part_of_the_manifest_is_refused(folder, change):
    rewrite(folder, lambda manifest: manifest.update(change))
    with pytest.raises(BrokenArtifact, match=r"detector\.json is damaged at .*; fetch or train"):
        Artifact.load(folder)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"calibrations": [{"slope": 0.0, "intercept": 0.0}]}, "a calibration has slope 0 "),
        ({"calibrations": [{"slope": -1.0, "intercept": 0.0}]}, "a calibration has slope -1 "),
        ({"calibrations": [{"slope": 1e300, "intercept": 0.0}]}, r"a calibration has slope 1e\+300"),
        ({"calibrations": [{"slope": 1.0, "intercept": 1e308}]}, r"and intercept 1e\+308"),
        ({"min_score": 0.5}, "min_score 0.5 for task binary; classes may have one from 0 to 1"),
        ({"thresholds": [[]]}, "there are no thresholds"),
        ({"thresholds": [[THRESHOLD, THRESHOLD]]}, "ascending false-positive rates"),
        ({"thresholds": [[THRESHOLD | {"target": 0.0}]]}, "false-positive rates between 0 and 1"),
        ({"thresholds": [[THRESHOLD | {"score": 1.5}]]}, "scores from 0 to 1 that fall as the rate rises"),
        ({"thresholds": [[THRESHOLD, THRESHOLD | {"target": 0.05, "score": 0.95}]]}, "that fall as the"),
    ],
    ids=str,
)
def test_numbers_that_make_no_sense_are_refused(folder, change, found):
    rewrite(folder, lambda manifest: manifest.update(change))
    with pytest.raises(BrokenArtifact, match=rf"detector\.json is inconsistent: .*{found}.*; fetch or train"):
        Artifact.load(folder)


def test_a_number_too_large_for_a_float_is_refused(folder):
    path = folder / "detector.json"
    rewrite(folder, lambda manifest: manifest["calibrations"][0].update(slope=float("inf")))
    path.write_text(path.read_text().replace("Infinity", "1e999"))
    with pytest.raises(BrokenArtifact, match=r"damaged at 'calibrations.0.slope': .* a finite number"):
        Artifact.load(folder)


def test_columns_that_do_not_fit_the_head_are_refused(folder):
    rewrite(folder, lambda manifest: manifest.update(columns=[["layer00.margin_max", 5]]))
    with pytest.raises(BrokenArtifact, match=r"json names columns of 5 entries, .* beside it weighs 6"):
        Artifact.load(folder)


def test_an_unknown_head_is_refused(folder):
    rewrite(folder, lambda manifest: manifest.update(head="tree"))
    with pytest.raises(BrokenArtifact, match=r"json: head 'tree' is unknown; this version reads 'linear'"):
        Artifact.load(folder)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"weight": np.ones((1, 7), np.float32)}, r"shapes \(6,\), \(6,\), \(1, 7\)"),
        ({"weight": np.full((1, 6), np.nan)}, "weight holds something other than finite floats"),
        ({"more": np.ones(1)}, "needs other arrays than bias, mean, more"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(artifact, folder, change, found):
    exchange_arrays(folder, save_arrays(artifact.head.arrays() | change))
    with pytest.raises(
        BrokenArtifact, match=rf"detector\.safetensors does not hold arrays that can be read: .*{found}"
    ):
        Artifact.load(folder)


@pytest.mark.parametrize(
    "data", [b"{}", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}"], ids=["short", "huge", "none"]
)
def test_what_is_no_safetensors_file_is_refused(folder, data):
    exchange_arrays(folder, data)
    with pytest.raises(
        BrokenArtifact, match=r"detector\.safetensors(:| does not hold arrays that can be read)"
    ):
        Artifact.load(folder)


def test_the_load_path_imports_nothing_that_could_run_code_out_of_a_file():
    allowed = {
        *"collections dataclasses functools hashlib json math numbers pathlib stat typing unicodedata".split()
    }
    allowed |= {"numpy", "pydantic", "pydantic_core", "scipy", "sklearn", "safetensors", "splinelens"}
    found = set()
    for name in ("artifact", "artifact_files", "calibration", "heads", "metrics", "thresholds"):
        for node in ast.walk(ast.parse((ROOM / f"{name}.py").read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.split(".")[0])
    assert found <= allowed
    assert {"numpy", "safetensors"} <= found


def test_loading_and_scoring_need_neither_sklearn_nor_torch(folder):
    code = (
        "import sys, pathlib, numpy\n"
        "from splinelens.detect.artifact import Artifact\n"
        f"artifact = Artifact.load(pathlib.Path({str(folder)!r}))\n"
        "score = artifact.scores(artifact.head.logit(numpy.zeros((1, 6))), numpy.array([4]))\n"
        "print([name for name in ('sklearn', 'scipy', 'torch') if name in sys.modules])\n"
    )
    environment = {"PYTHONPATH": str(ROOM.parents[1])}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


def test_a_lone_surrogate_in_the_manifest_is_named(folder):
    rewrite(folder, lambda manifest: manifest.update(name="a\ud800"))
    with pytest.raises(BrokenArtifact, match="surrogates not allowed"):
        Artifact.load(folder)


def test_a_rate_and_a_threshold_are_not_both_taken(artifact):
    with pytest.raises(BadDetector, match=r"fpr=0\.01 and threshold=0\.5: give one of them"):
        artifact.limits(0.01, 0.5)
