"""``splinelens distill``."""

import json

from splinelens.models import load_model


def test_a_shorter_student_is_trained_and_loads(run, writer_folder, tmp_path):
    teacher, texts = writer_folder("llama"), tmp_path / "texts.txt"
    texts.write_text(
        "\n".join(f"the thing number {row} is in the garden of you and me" * 9 for row in range(150))
    )
    command = ["distill", teacher, teacher, texts, "--blocks", 2, "--tokens", 12_000]
    command += ["-o", tmp_path / "short"]
    shown = run(*command)
    assert shown.stdout.startswith("nats per held-out token: teacher ")
    assert shown.stdout.endswith(f"wrote {tmp_path / 'short'}\n")
    assert "step 11 of 11 (all): cross-entropy " in shown.stderr
    assert "name another folder" in run(*command, code=2).output
    record = json.loads((tmp_path / "short/splinelens.json").read_text())
    assert record["command"].startswith("splinelens distill ")
    assert record["student"]["blocks"] == 2
    assert load_model(tmp_path / "short").depth == 2


def test_a_kept_detector_scores(run, writer_folder, tmp_path):
    teacher, file = writer_folder("llama"), tmp_path / "rows.csv"
    words = "a cat", "you idiot"
    rows = [f"{words[row % 2]} {row},{row % 2},{'fit' if row < 40 else 'other'}" for row in range(150)]
    file.write_text("\n".join(["text,toxic,split", *rows]))
    labeled = (file, "--label", "toxic")
    layers = ("--directions", 2, "--layers", "0-2")
    run("train", *labeled, "--split", "split=fit", "--model", teacher, *layers, "-o", tmp_path / "mine")
    out = run(
        *("distill", teacher, teacher, *labeled, "--keep", tmp_path / "mine", "--blocks", 2),
        *("--batch-tokens", 96, "--json", "-q", "-o", tmp_path / "fast"),
    )
    record = json.loads(out.stdout)
    assert record["auc"] > 0.9
    assert record["settings"]["batch_tokens"] == 96
    scored = run("score", "--detector", tmp_path / "fast/detector", "--text", "you idiot", "--json").stdout
    assert json.loads(scored)["verdict"] == "toxic"


def test_a_detector_without_labels_and_stages_that_are_none_are_wrong_usage(run, tmp_path):
    common = ("distill", "a", "b", "texts.csv", "-o", tmp_path / "out")
    assert "give both --keep DETECTOR and --label" in run(*common, "--keep", "toxicity", code=2).output
    assert "is not three numbers" in run(*common, "--stages", "1,2", code=2).output
    assert "must add up to 1" in run(*common, "--stages", "nan,nan,nan", code=1).stderr
    assert "give --blocks N, too" in run(*common, "--evenly", code=2).output


def test_neither_teacher_nor_student_is_replaced(run, writer_folder):
    teacher, student = writer_folder("llama"), writer_folder("qwen2")
    for output in (teacher, student):
        before = (output / "config.json").read_bytes()
        command = ("distill", teacher, student, "texts.txt", "-o", output, "--overwrite")
        assert "would be replaced" in run(*command, code=2).output
        assert (output / "config.json").read_bytes() == before
