"""Peak memory of ``extract`` and ``score`` by number of texts: python benchmarks/memory.py [-n 100000 1000000].

A tiny random model and a detector fitted on it read different short texts of a CSV file; each command is a
process of its own, and its peak resident memory is what the system counted. Prints one line a command.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

WORDS = "you are the worst kind of friend and a lovely fool in my garden but thanks for the trash".split()
LAYERS, WIDTH = 2, 16


def save_model(folder: Path) -> None:
    """A random model whose tokens are the words, digits and one for all else."""
    names = ["<unk>", *dict.fromkeys(WORDS), *map(str, range(10))]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    LlamaModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<unk>").save_pretrained(
        folder
    )


def write_texts(path: Path, count: int) -> None:
    """Texts that are all different, and a label that follows from a word."""
    with path.open("w") as file:
        file.write("text,label\n")
        for number in range(count):
            words = " ".join(WORDS[(number * step) % len(WORDS)] for step in (1, 3, 7, 11))
            file.write(f"{words} {number},{int('fool' in words)}\n")


def peak(*arguments: str | Path) -> tuple[float, float]:
    """Peak resident memory in MB and seconds of one command."""
    command = [sys.executable, "-m", "splinelens", *map(str, arguments), "--quiet"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}")
    return usage.ru_maxrss / 1024, time.perf_counter() - started


def fit_detector(folder: Path) -> None:
    """A model and a detector fitted on it, in the folders ``model`` and ``detector``."""
    save_model(folder / "model")
    write_texts(folder / "train.csv", 400)
    labels = ["--label", "label", "--model", folder / "model", "-o", folder / "detector"]
    peak("train", folder / "train.csv", *labels)


def main() -> None:
    """Measure every command at every number of texts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, nargs="+", default=[100_000, 1_000_000], help="numbers of texts")
    counts = parser.parse_args().n
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fit_detector(folder)
        for count in counts:
            texts = folder / f"{count}.csv"
            write_texts(texts, count)
            column = ["--column", "text"]
            for command, *more in (
                ("extract", "--model", folder / "model", "-o", folder / f"{count}.parquet"),
                ("score", "--detector", folder / "detector", "-o", folder / f"{count}.scores.csv"),
            ):
                megabytes, seconds = peak(command, texts, *column, *more)
                print(f"{command}, {count:,} texts: {megabytes:.0f} MB, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
