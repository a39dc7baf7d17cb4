"""Hostile inputs for every command: arguments, damaged detectors, damaged models, damaged GGUF files.

Each case is made from a seed and its number alone, so one that fails is run again with ``--only``::

    python tests/hostile.py arguments --count 900 --seed 1
    python tests/hostile.py detectors --count 2000 --seed 1 --only 17 --verbose

A case fails if an error that is not ours escapes, an exit code is none of 0, 1 and 2, the process dies, it
runs over 60 seconds, the network is tried, a file of the case is executed (it would make ``canary``), or a
score that is not a finite number has another verdict than ``undetermined``. Cases run in a child process,
whose memory is limited, and which is started again after one that hung or died.
"""

import argparse
import contextlib
import copy
import csv
import faulthandler
import hashlib
import io
import json
import math
import multiprocessing
import os
import random
import shutil
import socket
import struct
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

LIMIT_S = 60
MEMORY_BYTES = 12 * 2**30
HUGE = 2**62
KINDS = ("arguments", "detectors", "models", "ggufs")

STRINGS = [
    "", " ", "~nosuchuser/x", "n" * 300, "\ud800", "\udcff\udcfe", "../../..", "/dev/null", "/dev/full", "-", "--",
    "\U0001f642" * 100, "%s%n", "{0}", "$(touch canary)", "`touch canary`", "=1+1", "\x1b[31mred", "a\nb", "nan",
    "inf", "-1", "1e999", "0x10", "١٢", str(2**31), str(2**32), str(2**63), str(2**64), "9" * 5000,
    "true", "null", "[]", "{}", "hf:owner/name", "hf:", "hf:../..", "owner/name", "a/b/c", "a/b--c",
    "file:///etc/hostname", "http://localhost:1/x", "0", "1", "0-29", "text", "comment", "toxic", "clean",
    "undetermined", "__import__('os').system('touch canary')", "<script>", "/proc/none/x", "loop", "folder", "1,2,3",
]  # fmt: skip
VALUES = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**9, 10**30, 10**400, 0.5, -0.0, 1e308, 1e-308, math.nan,
    math.inf, [], [[]], {}, {"a": 1}, [1, 2, 3], ["a"], [None], [{}], {"a": {"b": []}}, [1e308] * 3, "x" * 100_000,
    *STRINGS,
]  # fmt: skip
OPTIONS = {
    "encoding": "utf-7 utf-16 utf-32 hex rot13 base64 zlib idna punycode undefined unicode_escape mbcs latin-1 "
    "no-such utf_8_sig bz2 raw_unicode_escape uu cp1252 ascii".split(),
    "device": "meta cuda:0 cuda:99 cpu:7 cpu:-1 mps xla vulkan privateuseone hpu lazy ort CPU cpu,cuda mkldnn fpga "
    "ideep ve maia xpu ipu mtia".split(),
    "dtype": "int8 bool float8_e4m3fn complex64 float31 torch.float32 float64 float16 bfloat16 quint8".split(),
    "seed": ["-1", str(2**32 - 1), str(2**32), str(2**64), "1.5", "nan"],
    "features": "margins hidden occupancy length attention_id spline7 margins,margins nothing ,, margins,x".split(),
    "pooling": "max min mean last max,max none ,".split(),
    "layers": "0 9 999 1000 0-2 2-0 -1 0,0 0-999 a 0- 1e1 ٣".split(),
    "eps": "0 1 0.5 nan inf -1 1e-300".split(),
    "fpr": "5 0 1 0.05 0.01 nan inf -1 1e-300".split(),
    "threshold": "2 0 1 0.5 nan inf -1".split(),
    "prevalence": "2 0 1 0.5 nan inf -1".split(),
    "max_tokens": ["0", "1", "2", "-1", str(2**31), str(2**63), str(10**30), "1.5"],
    "at": "0:0 9:0 0:99 -1:0 a:b 0 0:0,1 : 0:٣".split(),
    "slice_at": "0:0,1,2 0:0,0,0 9:0,1,2 0:0,1 0:0,1,99 : a".split(),
    "format": "txt csv tsv jsonl json parquet CSV xml exe".split(),
    "model": "{detector} {texts} {model}/config.json {model}/.. fifo smollm2-136m cut.gguf .".split(),
    "detector": "{model} {texts} {detector}/detector.json {detector}/.. fifo toxicty .".split(),
    "file": "fifo /dev/zero /dev/null folder loop file cut.gguf {model} none.csv - hf:a/b".split(),
    "terms": "{texts} fifo /dev/zero /dev/null folder loop file cut.gguf none.tsv -".split(),
    "hatecheck": "{texts} fifo /dev/zero folder loop.csv file none.csv -".split(),
    "xstest": "{texts} fifo /dev/zero folder loop.csv file none.csv -".split(),
    "reference": "{model} {texts} fifo /dev/zero folder loop file .".split(),
    "report": "out.html out fifo fifo.html /dev/null folder loop a/b.html old.csv {texts}".split(),
    "output": "out.csv out.jsonl out.parquet out.html out a/b.csv folder.csv loop.csv /dev/null old.csv".split(),
    "split": "split split=train split= =x = split=nothing nothing".split(),
    "label": "toxic kind comment id nothing split".split(),
    "column": "comment id toxic nothing".split(),
    "positive": "1 0 rude kind nothing".split(),
}
ENVIRONMENT = {
    "SPLINELENS_CACHE": ["file", "/proc/x", "", "~nosuchuser", "n" * 300, "/dev/null/x", "loop", "\udcff"],
    "XDG_CACHE_HOME": ["file", "", "~nosuchuser", "n" * 300, "/dev/null"],
    "HOME": ["", "/none", "file", "n" * 300],
    "COLUMNS": ["abc", "0", "-5", "1", "99999"],
    "HF_HUB_OFFLINE": ["maybe", "0", ""],
    "TERM": ["", "dumb", "x" * 300],
    "MKL_CBWR": ["x", ""],
    "HF_TOKEN": ["\udcff", "x"],
}  # fmt: skip
JUNK = b"\x89\x00\xff not what it says \n\n\xfe\xed" * 20


@dataclass
class Case:
    """Command lines to run in a folder of their own, and what they are given.

    ``about`` says what is hostile; ``check_python`` scores with the detector of the folder from Python too.
    """

    about: str
    lines: list[list[str]]
    stdin: bytes = b""
    environment: dict[str, str] = field(default_factory=dict)
    check_python: bool = False


@dataclass(frozen=True)
class Sound:
    """What the hostile inputs are made from: sound folders and files."""

    models: dict[str, Path]
    detectors: dict[str, Path]
    texts: Path
    gguf: Path

    @property
    def model(self):
        return self.models["llama"]


# Sound inputs


def make_sound(folder, build_tiny, tokenizer, families):
    """Write tiny random models of these families, three detectors, texts and a GGUF file."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    models = {}
    for name in families:
        models[name] = folder / "models" / name
        build_tiny(name).save_pretrained(models[name])
        tokenizer.save_pretrained(models[name])
    texts = folder / "comments.csv"
    rng = random.Random(0)
    with texts.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "comment", "toxic", "kind", "split"])
        for row in range(60):
            rude, kind = row % 2, ("rude", "kind", "dull")[row % 3]
            nouns = rng.sample(["toad", "fool"] if rude else ["tea", "sea"], 2)
            words = ["you", "the", kind, *nouns, str(row)]
            table.writerow([row, " ".join(words), rude, kind, "train" if row < 40 else "test"])
    gguf = folder / "tiny.gguf"
    write_gguf(gguf, build_tiny("llama", num_key_value_heads=4), tokenizer)
    return Sound(models, make_detectors(folder / "detectors", models["llama"], texts), texts, gguf)


def make_detectors(folder, model, texts):
    """A binary detector, one of classes and one of labels, on the tiny Llama."""
    import numpy as np

    from splinelens.apps.training import fit_detector
    from splinelens.features.reader import TextReader
    from splinelens.features.spec import FeatureSpec
    from splinelens.models import load_model

    rows = list(csv.DictReader(io.StringIO(texts.read_text())))
    comments = [row["comment"] for row in rows]
    toxic = np.array([int(row["toxic"]) for row in rows])
    kinds = np.array([[int(row["kind"] == kind) for kind in ("rude", "kind", "dull")] for row in rows])
    loaded, made = load_model(str(model), device="cpu"), {}
    for task, features, labels, names in (
        ("binary", "margins", toxic, "toxic"),
        ("classes", "margins", kinds, ("rude", "kind", "dull")),
        ("labels", "hidden", np.stack([toxic, 1 - toxic], axis=1), ("rude", "mild")),
    ):
        reader = TextReader(loaded, FeatureSpec(features=(features,), layers=(0, 1), max_tokens=24))
        words = {"name": task, "task": task, "label": names, "negative": "clean", "strengths": (0.01,)}
        made[task] = folder / task
        fit_detector(comments, labels, reader, **words).artifact.save(made[task])
    return made


def write_gguf(path, model, tokenizer):
    """A tiny Llama as a GGUF file. Its heads are in the wrong order, which only changes the numbers."""
    from gguf import GGUFWriter

    config, writer = model.config, GGUFWriter(str(path), "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    rules = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(rules["vocab"], key=rules["vocab"].get)
    tokens += [f"<unused{index}>" for index in range(len(tokens), config.vocab_size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([token.replace(" ", "Ġ") for token in tokens])
    writer.add_token_types([3 if token.startswith("<") and len(token) > 1 else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair).replace("  ", "Ġ ") for pair in rules["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = {"embed_tokens": "token_embd", "norm": "output_norm", "self_attn.q_proj": "attn_q"}
    names |= {"self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output"}
    names |= {"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
    names |= {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    for name, tensor in model.state_dict().items():
        inside = name.removesuffix(".weight")
        block = ""
        if inside.startswith("layers."):
            _, number, inside = inside.split(".", 2)
            block = f"blk.{number}."
        writer.add_tensor(f"{block}{names[inside]}.weight", tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# Cases


def make_case(kind, sound, seed, index):
    """The case of a number, in the current folder, which is empty."""
    rng = random.Random(f"{kind} {seed} {index}")
    return {"arguments": _arguments, "detectors": _detector, "models": _model, "ggufs": _gguf}[kind](
        rng, sound
    )


def _arguments(rng, sound):
    """A command line of which one to three parts are hostile."""
    import typer

    from splinelens.cli import app

    detector = rng.choice([*sound.detectors.values()])
    words = {"texts": "comments.csv", "model": str(sound.model), "detector": str(detector)}
    shutil.copy(sound.texts, "comments.csv")
    shutil.copy(sound.texts, "old.csv")
    Path("file").touch()
    Path("loop").symlink_to("loop")
    Path("loop.csv").symlink_to("loop.csv")
    Path("folder.csv").mkdir()
    Path("folder").mkdir()
    Path("cut.gguf").write_bytes(sound.gguf.read_bytes()[:3000])
    os.mkfifo("fifo")
    os.mkfifo("fifo.html")
    group, command, parts = rng.choice(
        [
            ("", "score", ["comments.csv", "--column", "comment", "--detector", "{detector}", "--json"]),
            ("", "score", ["--text", "you are a toad", "--detector", "{detector}", "--json"]),
            ("", "score", ["-", "--detector", "{detector}"]),
            ("", "extract", ["comments.csv", "--column", "comment", "-o", "out.parquet", "--model", "{model}"]),
            ("", "train", ["comments.csv", "--column", "comment", "--label", "toxic", "-o", "new", "--model", "{model}"]),
            ("", "evaluate", ["{detector}", "comments.csv", "--column", "comment", "--label", "toxic", "--allow-training-rows"]),
            ("", "inspect", ["you are a toad", "--model", "{model}"]),
            ("models", "list", []),
            ("models", "check", ["{model}"]),
            ("models", "pull", ["{model}"]),
            ("detectors", "list", []),
            ("detectors", "show", ["{detector}"]),
        ]
    )  # fmt: skip
    click = typer.main.get_command(app)
    click = click.commands[group].commands[command] if group else click.commands[command]
    parameters = {name: each for each in click.params for name in each.opts if name.startswith("-")}
    about, environment, stdin = (
        [],
        {},
        rng.choice([b"", b"you are a toad\na second\n", JUNK, b"\xff\xfe\x00a", b"[" * 10**5]),
    )
    for _ in range(rng.randint(1, 3)):
        how = rng.choice(
            "option option option option option value value input input environment drop extra".split()
        )
        if how == "option" and parameters:
            name = rng.choice(sorted(parameters))
            takes = not getattr(parameters[name], "is_flag", False)
            value = (
                [rng.choice([*OPTIONS.get(parameters[name].name, []), *rng.sample(STRINGS, 3)])]
                if takes
                else []
            )
            parts, note = [*parts, name, *value], f"{name} {value}"
        elif how == "value" and parts:
            at = rng.randrange(len(parts))
            option = parameters.get(parts[at - 1]) if at else None
            pool = OPTIONS.get(option.name, []) if option else OPTIONS["model"] + OPTIONS["detector"]
            pool = OPTIONS["file"] if parts[at] == "comments.csv" else pool
            parts = [*parts[:at], rng.choice([*pool, *rng.sample(STRINGS, 3)]), *parts[at + 1 :]]
            note = f"part {at} is {parts[at]!r:.60}"
        elif how == "input":
            name, note = _odd_file(rng, sound.texts.read_bytes())
            parts = [name if part == "comments.csv" else part for part in parts]
        elif how == "environment":
            name = rng.choice(sorted(ENVIRONMENT))
            environment[name] = rng.choice(ENVIRONMENT[name])
            note = f"{name}={environment[name]!r:.60}"
        elif how == "drop" and parts and not parts[-1].startswith("--"):  # no default detector: it is large
            note = f"without {parts[-1]!r:.60}"
            parts = parts[:-1]
        else:
            extra = rng.choice([*STRINGS, "--no-such", "--json", "--help", "-q"])
            parts, note = [*parts, extra], f"with {extra!r:.60}"
        about.append(note)
    line = [group, command] if group else [command]
    line += [
        part.replace("\0", "")
        if "{0}" in part
        else part.format(**words)
        if "{" in part and part[-1] != "{" and part != "{}"
        else part
        for part in parts
    ]
    return Case("; ".join(about), [line], stdin, environment)


def _odd_file(rng, sound):
    """A file of texts that is not what it seems: its name and what it holds."""
    contents = {
        "empty": b"",
        "junk": JUNK,
        "NULs": b"\0" * 1000,
        "UTF-16": sound.decode().encode("utf-16"),
        "UTF-16 without BOM": sound.decode().encode("utf-16-le"),
        "UTF-32": sound.decode().encode("utf-32"),
        "cp1252": "comment,toxic\n“naïve” — 5 €,1\ncafé,0\n".encode("cp1252"),
        "open quote": b'comment,toxic\n"you,1\na,0\n',
        "no header": b"you are a toad\na second text\n",
        "ragged": b"comment,toxic\na,1,2,3\nb\n,,,\n",
        "deep JSON": b"[" * 100_000,
        "deep object": b'{"comment":' * 50_000 + b"1" + b"}" * 50_000,
        "JSON types": b'{"comment": 1}\n{"comment": null}\n{"comment": {"a": []}}\n[1]\n"a"\n{}\n',
        "JSON surrogate": b'{"comment": "\\ud800", "toxic": 1}\n{"comment": "a\\u0000b", "toxic": 0}\n',
        "JSON numbers": b'{"comment": "a", "toxic": 1e999}\n{"comment": "b", "toxic": '
        + b"9" * 5000
        + b"}\n",
        "wide": b",".join(b"c%d" % n for n in range(5000)) + b"\n" + b",".join([b"x"] * 5000) + b"\n",
        "twice the column": b"comment,comment,toxic\na,b,1\nc,d,0\n",
        "labels": b"comment,toxic\na,0.5\nb,nan\nc,=1+1\nd,\ne,1\nf,yes\n",
        "one class": b"comment,toxic\n" + b"a,1\n" * 30,
        "same text": b"comment,toxic\n" + b"a,1\na,0\n" * 30,
        "long cell": b"comment,toxic\n" + b"word " * 4000 + b",1\nb,0\n",
        "long line": b"x" * 300_000,
        "carriage returns": b"comment,toxic\ra,1\rb,0\r",
        "parquet magic": b"PAR1" + JUNK + b"PAR1",
        "arrow magic": b"ARROW1\0\0" + JUNK,
        "gzip magic": b"\x1f\x8b\x08" + JUNK,
        "zip magic": b"PK\x03\x04" + JUNK,
        "formula": b"comment,toxic\n=cmd|' /C calc'!A0,1\n@x,0\n",
    }
    what = rng.choice(sorted(contents))
    suffixes = ["", *".csv .tsv .jsonl .json .parquet .txt .CSV .xlsx .csv.gz .arrow".split()]
    name = rng.choice(["odd", "odd", "-odd", "a b", "odd\n", "ö", "odd\udcff"]) + rng.choice(suffixes)
    Path(name).write_bytes(contents[what])
    return name, f"{what} in {name!r}"


def _detector(rng, sound):
    """A damaged copy of a detector, used by one command and from Python."""
    task = rng.choice(sorted(sound.detectors))
    shutil.copytree(sound.detectors[task], "detector")
    shutil.copy(sound.texts, "comments.csv")
    manifest, arrays = Path("detector/detector.json"), Path("detector/detector.safetensors")
    how = rng.choice(["field"] * 8 + ["arrays"] * 3 + ["bytes", "file", "text"])
    if how == "field":
        record = json.loads(manifest.read_text())
        about = "; ".join(_change_field(rng, record) for _ in range(rng.choice([1, 1, 1, 2, 3])))
        manifest.write_text(json.dumps(_rehashed(record)))
    elif how == "arrays":
        about = _change_arrays(rng, manifest, arrays)
    elif how == "bytes":
        about = _change_bytes(rng, rng.choice([manifest, arrays]))
    elif how == "file":
        about = _replace_file(rng, rng.choice([manifest, arrays, Path("detector")]))
    else:
        about = _change_json_text(rng, manifest, rehash=True)
    labels = {"binary": ["toxic"], "classes": ["kind"], "labels": ["rude", "mild"]}[task]
    evaluate = "evaluate ./detector comments.csv --column comment --allow-training-rows -q".split()
    evaluate += [part for label in labels for part in ("--label", label)]
    model = [] if rng.random() < 0.3 else ["--model", str(sound.model)]
    texts = ["--text", "you are a toad", "--text", ""]
    lines = [
        ["detectors", "show", "./detector"],
        ["score", *texts, "--detector", "./detector", "--json", *model],
        ["score", *texts, "--detector", "./detector", "--json", "--explain", *model],
        ["score", *texts, "--detector", "./detector", *model],
        *(["score", *texts, "--detector", "./detector", "-o", f"out{suffix}", *model] for suffix in (".csv", ".jsonl", ".parquet")),
        [*evaluate, *model],
        [*evaluate, "--json", *model],
        [*evaluate, "--report", "page.html", "--no-evasion", *model] if rng.random() < 0.2 else ["detectors", "show", "./detector"],
    ]  # fmt: skip
    return Case(f"{task}: {about}", rng.sample(lines, 2), check_python=rng.random() < 0.3)


def _model(rng, sound):
    """A damaged copy of a tiny model of any family, used by one command."""
    family = rng.choice(sorted(sound.models)) if rng.random() < 0.7 else "llama"
    shutil.copytree(sound.models[family], "model")
    folder = Path("model")
    how = rng.choice(
        ["config"] * 8 + ["tokenizer"] * 3 + ["weights"] * 3 + "file text index pickle code bytes".split()
    )
    name = rng.choice(["config.json", "tokenizer.json", "tokenizer_config.json"])
    if how == "config":
        record = json.loads((folder / "config.json").read_text())
        about = "; ".join(_change_config(rng, record) for _ in range(rng.choice([1, 1, 1, 2])))
        (folder / "config.json").write_text(json.dumps(record))
    elif how == "tokenizer":
        about = _change_tokenizer(rng, folder)
    elif how == "weights":
        about = _change_weights(rng, folder / "model.safetensors")
    elif how == "file":
        about = _replace_file(
            rng,
            folder / rng.choice([name, "model.safetensors", "generation_config.json", "chat_template.jinja"]),
        )
    elif how == "text":
        about = _change_json_text(rng, folder / name)
    elif how == "index":
        about = _add_index(rng, folder)
    elif how == "pickle":
        about = _add_pickle(rng, folder)
    elif how == "code":
        about = _add_code(rng, folder)
    else:
        about = _change_bytes(rng, folder / rng.choice([name, "model.safetensors"]))
    lines = [
        ["models", "check", "model", "--json"],
        ["models", "pull", "./model"],
        ["extract", "-", "-o", "out.parquet", "--model", "./model", "--format", "txt", "--max-tokens", "64", "-q"],
        ["extract", "-", "-o", "out.parquet", "--model", "./model", "--format", "txt", "--max-tokens", "64", "--features", "margins", "--layers", "0-1"],
        ["inspect", "you are a toad", "--model", "./model", "--json"],
        ["score", "--text", "you are a toad", "--detector", str(sound.detectors["binary"]), "--model", "./model", "--json"],
    ]  # fmt: skip
    return Case(f"{family}: {about}", rng.sample(lines, 1), b"you are a toad\nthe tea\n")


def _gguf(rng, sound):
    """A damaged GGUF file, converted by one command into a cache of its own."""
    data = bytearray(sound.gguf.read_bytes())
    how = rng.choice(["length"] * 5 + "cut header bytes number tail".split())
    if how == "length":
        at, what = rng.choice(_length_places(sound.gguf))
        value = rng.choice([HUGE, 2**63, 2**64 - 1, 2**40, 2**32, 10**9, 0, len(data)])
        struct.pack_into("<Q", data, at, value)
        about = f"{what} at {at} is {value}"
    elif how == "cut":
        data = data[: rng.randrange(len(data))]
        about = f"cut at {len(data)}"
    elif how == "header":
        at = rng.randrange(24)
        data[at] = rng.randrange(256)
        about = f"byte {at} of the header is {data[at]}"
    elif how == "number":
        at = rng.randrange(24, 6000)
        struct.pack_into("<I", data, at, rng.choice([2**31, 2**32 - 1, 0, 9, 12, 13, 2**20]))
        about = f"four bytes at {at} are a number"
    elif how == "tail":
        data += b"\0" * rng.randrange(10**6)
        about = f"{len(data)} bytes"
    else:
        for _ in range(rng.choice([1, 10, 100])):
            data[rng.randrange(8000)] = rng.randrange(256)
        about = "bytes changed"
    Path("bad.gguf").write_bytes(data)
    extract = "extract - -o out.parquet --model ./bad.gguf --format txt --max-tokens 64 -q"
    line = rng.choice(["models pull bad.gguf", extract]).split()
    return Case(about, [line], b"you are a toad\n", {"SPLINELENS_CACHE": str(Path("cache").absolute())})


# Damage


def _change_field(rng, record):
    """Change one value anywhere in a JSON record; says where and to what."""
    places = []

    def walk(value, path):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            places.append((value, key, (*path, key)))
            if isinstance(inner, dict | list) and len(path) < 6:
                walk(inner, (*path, key))

    walk(record, ())
    depth = rng.randint(1, 4)  # else nearly all places are deep inside the longest list
    container, key, path = rng.choice([place for place in places if len(place[2]) <= depth])
    where, how = ".".join(map(str, path))[:80], rng.random()
    if how < 0.12:
        del container[key]
        return f"without {where}"
    if how < 0.2 and isinstance(container[key], dict):
        container[key][rng.choice(["more", "", "auto_map", "a\0"])] = _nonsense(rng)
        return f"more in {where}"
    value = container[key]
    if how < 0.35 and isinstance(value, list) and value:
        container[key] = rng.choice([value * 2, value[:-1], value[::-1], [*value, None], [value]])
    elif how < 0.5 and isinstance(value, int | float) and not isinstance(value, bool):
        container[key] = rng.choice([-value, value + 1, value * 1000, value / 3, 0, str(value), value - 1])
    else:
        container[key] = _nonsense(rng)
    return f"{where} is {container[key]!r:.60}"


def _nonsense(rng):
    return copy.deepcopy(rng.choice(VALUES))


def _rehashed(record):
    """The manifest with a hash that fits, as a careful attacker would write it."""
    if not isinstance(record, dict):
        return record
    rest = {key: value for key, value in record.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True)
    return rest | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def _change_arrays(rng, manifest, path):
    """Other arrays under a manifest that fits their size and hash."""
    import numpy as np
    from safetensors.numpy import load, save

    arrays = load(path.read_bytes())
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    changes = {
        "NaN": lambda: np.full_like(array, np.nan) if array.dtype.kind == "f" else array + 1,
        "inf": lambda: np.full_like(array, np.inf) if array.dtype.kind == "f" else array[::-1],
        "enormous": lambda: (
            np.full_like(array, np.finfo(array.dtype).max) if array.dtype.kind == "f" else array
        ),
        "tiny": lambda: np.full_like(array, np.finfo(array.dtype).tiny) if array.dtype.kind == "f" else array,
        "large": lambda: np.full(array.shape, 1e300),
        "negative": lambda: -array.astype(np.float64),
        "zero": lambda: np.zeros_like(array),
        "int": lambda: array.astype(np.int64),
        "half": lambda: array.astype(np.float16),
        "bool": lambda: array.astype(bool),
        "empty": lambda: array[:0],
        "scalar": lambda: np.float64(1.0).reshape(()),
        "deeper": lambda: array[None],
        "flat": lambda: array.reshape(-1),
        "twice": lambda: np.concatenate([array, array]),
        "reversed": lambda: array[::-1],
    }
    what = rng.choice([*changes, "missing", "more", "header", "bytes"])
    if what in changes:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arrays[name] = np.ascontiguousarray(changes[what]())
        if what in ("enormous", "tiny") and name in ("weight", "scale"):  # their quotient overflows
            arrays["weight"] = np.full(arrays["weight"].shape, 3e38, np.float32)
            arrays["scale"] = np.full(arrays["scale"].shape, rng.choice([1e-300, 1e-270, 1e-200]))
    elif what == "missing":
        del arrays[name]
    elif what == "more":
        arrays[rng.choice(["more", "", "__metadata__x", "../x"])] = np.ones(3)
    data = save(arrays)
    if what == "header":
        header = rng.choice([b"{}", b"[" * 1000, b'{"a":' * 1000, b'{"weight": 1}', JUNK])
        length = rng.choice([len(header), HUGE, 2**63, 0, 100_000_000])
        data = struct.pack("<Q", length) + header + data[-64:]
    elif what == "bytes":
        changed = bytearray(data)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        data = bytes(changed)
    path.write_bytes(data)
    record = json.loads(manifest.read_text())
    record["arrays"] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if rng.random() < 0.3:
        record["calibrations"][0]["slope"] = rng.choice([1e308, -1e308, 1e-308, 0.0])
    manifest.write_text(json.dumps(_rehashed(record)))
    return f"{name} {what}"


def _change_bytes(rng, path):
    data, how = bytearray(path.read_bytes()), rng.choice(["flip", "cut", "junk", "longer", "zeros"])
    if how == "flip":
        for _ in range(rng.choice([1, 8, 64])):
            data[rng.randrange(min(len(data), rng.choice([300, 10**9])))] ^= 1 << rng.randrange(8)
    elif how == "cut":
        data = data[: rng.randrange(len(data))]
    elif how == "junk":
        data = bytearray(JUNK)
    elif how == "longer":
        data += JUNK
    else:
        data = bytearray(len(data))
    path.write_bytes(data)
    return f"{path.name} {how}"


def _replace_file(rng, path):
    """Put something else where a file or folder is."""
    how = rng.choice(
        ["missing", "folder", "fifo", "zero", "random", "loop", "dangling", "sparse", "socket", "secret"]
    )
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if how == "folder":
        path.mkdir()
    elif how == "fifo":
        os.mkfifo(path)
    elif how == "sparse":
        with path.open("wb") as file:
            file.truncate(2**40)
    elif how == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif how != "missing":
        targets = {"zero": "/dev/zero", "random": "/dev/urandom", "loop": path.name, "dangling": "nothing"}
        path.symlink_to(targets.get(how, "/etc/passwd"))
    return f"{path.name} {how}"


def _change_json_text(rng, path, rehash=False):
    """JSON of the wrong form: deep, twice the same key, another encoding, no object at all."""
    text, how = (
        path.read_text(),
        rng.choice(["deep", "deep value", "array", "number", "bom", "utf-16", "twice", "nan", "huge"]),
    )
    nest = rng.choice([500, 990, 3000, 100_000])
    if how == "deep":
        text = rng.choice(["[", '{"a":']) * nest
    elif how == "deep value":
        record = json.loads(text)
        key = rng.choice([key for key in record if key != "sha256"])
        deep = rng.choice([100, 300, 900])
        nested = json.loads("[" * deep + "]" * deep)
        record[key] = nested
        text = json.dumps(_rehashed(record) if rehash else record)
        how = f"{key} {deep} deep"
    elif how == "array":
        text = json.dumps([json.loads(text)])
    elif how == "number":
        text = rng.choice(["3", "null", '"x"', "true", "", "9" * 5000])
    elif how == "twice":
        text = text.rstrip().rstrip("}") + ', "name": 1, "model_type": "x"}'
    elif how == "nan":
        text = text.replace("1", "NaN", 1)
    elif how == "huge":
        text = text.replace("1", "1" * 5000, 1)
    path.write_bytes(text.encode({"bom": "utf-8-sig", "utf-16": "utf-16"}.get(how, "utf-8")))
    return f"{path.name} {how}"


def _change_config(rng, record):
    special = {
        "num_hidden_layers": [10**9, 10**5, 2**63, 0, -1, 2.5, "3", 4, 2],
        "n_layer": [10**9], "n_layers": [10**9], "num_layers": [10**9],
        "vocab_size": [10**9, 64, 129, 0, -1, 2**63],
        "hidden_size": [10**9, 33, 0, -32, 1],
        "num_attention_heads": [0, 5, -4, 10**9],
        "num_key_value_heads": [0, 3, -2, 10**9, 8],
        "intermediate_size": [10**9, 0, -1, 47],
        "num_experts": [10**9, 0, -1], "num_local_experts": [10**9, 0], "n_routed_experts": [10**9, 0],
        "layer_types": [["x"] * 3, [], ["full_attention"] * 10**5, "full_attention", {"a": 1}],
        "max_position_embeddings": [0, -1, 10**12],
        "rope_parameters": [{"rope_type": "x"}, {"rope_type": "yarn"}, {"rope_theta": 0}, [], {"rope_type": "longrope"}],
        "quantization_config": [{"quant_method": "bitsandbytes"}, {"quant_method": "x"}, [], {"quant_method": "gptq", "bits": 4}, {}],
        "hidden_act": ["x", "", 3, None, "gelu_10", "relu2"],
        "model_type": ["x", "", 3, None, "t5", "bert", "gpt2", "llama", "mamba", "clip", "whisper", "llava"],
        "torch_dtype": ["x", "int8", 3, "float64"], "dtype": ["x", 3],
        "_attn_implementation": ["x", "flash_attention_2", "owner/kernel", 3], "attn_implementation": ["owner/kernel", "x"],
        "is_encoder_decoder": [True, 3], "use_cache": ["x"], "pad_token_id": [10**9, -1, "x", 128],
        "sliding_window": [0, -1, 10**30, "x"], "attn_logit_softcapping": [0, "x"], "text_config": [None, {}, [], "x", {"model_type": "x"}],
    }  # fmt: skip
    if rng.random() < 0.45:
        inner = (
            record["text_config"]
            if isinstance(record.get("text_config"), dict) and rng.random() < 0.7
            else record
        )
        key = rng.choice(sorted(special))
        inner[key] = copy.deepcopy(rng.choice(special[key]))
        return f"{key} is {inner[key]!r:.60}"
    return _change_field(rng, record)


def _change_tokenizer(rng, folder):
    how = rng.choice(["field", "field", "config", "config", "larger", "added", "gap", "map"])
    path = folder / ("tokenizer_config.json" if how == "config" else "tokenizer.json")
    record = json.loads(path.read_text())
    if how in ("field", "config"):
        about = _change_field(rng, record)
    elif how == "larger":
        vocabulary = record["model"]["vocab"]
        vocabulary |= {f"word{n}": len(vocabulary) + n for n in range(100)}
        record["model"]["merges"], about = [], "vocabulary larger than the embedding"
        for token in ("y", "t"):  # so that a text reaches it
            vocabulary[token] = len(vocabulary)
    elif how in ("added", "gap"):
        number = 128 if how == "added" else rng.choice([10**6, 2**31, 2**32 - 1])
        token = {"id": number, "content": "you", "single_word": False, "lstrip": False, "rstrip": False}
        record["added_tokens"].append(token | {"normalized": False, "special": rng.random() < 0.5})
        about = f"an added token has id {number}"
    else:
        (folder / "special_tokens_map.json").write_text(
            json.dumps({"pad_token": _nonsense(rng), "bos_token": _nonsense(rng)})
        )
        about = "special_tokens_map.json"
    path.write_text(json.dumps(record))
    return f"{path.name}: {about}"


def _change_weights(rng, path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    how = rng.choice(
        [
            "cut",
            "length",
            "field",
            "dtype",
            "offsets",
            "shape",
            "missing",
            "renamed",
            "nan",
            "flip",
            "deep",
            "swap",
        ]
    )
    names = [name for name in header if name != "__metadata__"]
    name, other = rng.sample(names, 2)
    if how == "cut":
        path.write_bytes(data[: rng.randrange(len(data))])
        return "weights cut"
    if how == "length":
        path.write_bytes(
            struct.pack("<Q", rng.choice([HUGE, 2**63, 0, 1, 100_000_001, length + 1])) + data[8:]
        )
        return "length of the header"
    if how == "nan":
        path.write_bytes(data[: 8 + length] + b"\xff" * len(body))
        return "weights all NaN"
    if how == "flip":
        changed = bytearray(data)
        for _ in range(20):
            changed[rng.randrange(8 + length, len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        return "weights with bits flipped"
    if how == "field":
        about = _change_field(rng, header)
    elif how == "dtype":
        header[name]["dtype"] = rng.choice(["F64", "F16", "BF16", "I8", "F8_E4M3", "BOOL", "X", "C64"])
        about = f"{name} is {header[name]['dtype']}"
    elif how == "offsets":
        header[name]["data_offsets"] = rng.choice([[0, HUGE], [4, 0], [0, 0], [-4, 8], [0, len(body)]])
        about = f"{name} at {header[name]['data_offsets']}"
    elif how == "shape":
        header[name]["shape"] = rng.choice(
            [[HUGE], [0], [-1], [2**32, 2**32], header[name]["shape"][::-1], []]
        )
        about = f"{name} has shape {header[name]['shape']}"
    elif how == "missing":
        del header[name]
        about = f"without {name}"
    elif how == "renamed":
        header[rng.choice(["x", "", "a\0b", name + ".more", "../x"])] = header.pop(name)
        about = f"{name} renamed"
    elif how == "swap":
        header[name], header[other] = header[other], header[name]
        about = f"{name} is {other}"
    else:
        header["__metadata__"] = {"format": rng.choice(["x", "tf", "flax", "mlx", ""])}
        about = f"format {header['__metadata__']}"
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return about


def _add_index(rng, folder):
    """An index of weight files that names what it should not."""
    shard = rng.choice(["model-00001-of-00001.safetensors", "other.safetensors"])
    (folder / "model.safetensors").rename(folder / shard)
    names = [shard, 3, None, ["a"], {}, "", "no.safetensors"]
    names += ["../../../etc/passwd", "/etc/passwd", "/dev/zero", "fifo.safetensors"]
    name = rng.choice(names)
    os.mkfifo(folder / "fifo.safetensors")
    weights = rng.choice([{"embed_tokens.weight": name}, {"a": shard, "b": name}, [name], name, {}, None])
    record = {"metadata": {"total_size": rng.choice([0, HUGE, "x"])}, "weight_map": weights}
    text = rng.choice([json.dumps(record)] * 6 + ["[" * 100_000, "{}", "null"])
    (folder / "model.safetensors.index.json").write_text(text)
    return f"index {text!r:.80}"


def _add_pickle(rng, folder):
    """A pickle that makes a file when it is loaded, beside the weights or in their place."""
    code = b"cposix\nsystem\n(S'touch %s'\ntR." % str(Path("canary").absolute()).encode()
    names = "pytorch_model.bin model.pt adapter_model.bin training_args.bin tokenizer.pkl model.safetensors"
    name = rng.choice(names.split())
    if rng.random() < 0.6:
        (folder / "model.safetensors").unlink()
    if rng.random() < 0.3:
        (folder / "adapter_config.json").write_text('{"base_model_name_or_path": ".", "peft_type": "LORA"}')
    (folder / name).write_bytes(code)
    return f"a pickle in {name}"


def _add_code(rng, folder):
    """Python code that comes with a model and makes a file when it is imported."""
    code = f"open({str(Path('canary').absolute())!r}, 'w')\nclass Odd: pass\n"
    for name in ("odd", "modeling_odd", "configuration_odd", "tokenization_odd", "generate"):
        (folder / f"{name}.py").write_text(code)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(code)
    places = ["AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoTokenizer"]
    target = rng.choice(
        ["odd.Odd", "owner/name--odd.Odd", "../odd.Odd", "./model--odd.Odd", 3, ["odd.Odd", "odd.Odd"]]
    )
    path = folder / rng.choice(["config.json", "tokenizer_config.json", "config.json"])
    record = json.loads(path.read_text())
    record["auto_map"] = dict.fromkeys(rng.sample(places, rng.randint(1, 4)), target)
    if rng.random() < 0.5:
        record["model_type"] = "odd"
    if rng.random() < 0.3:
        record |= {"tokenizer_class": "OddTokenizer", "chat_template": "{{ ''.__class__.__mro__ }}"}
    path.write_text(json.dumps(record))
    return f"code for {record['auto_map']}"


def _length_places(path):
    """(offset, what) of every 64-bit length and count in a sound GGUF file."""
    import numpy as np
    from gguf import GGUFReader

    reader = GGUFReader(str(path))
    places = [(8, "number of tensors"), (16, "number of fields")]
    for container in (*reader.fields.values(), *(tensor.field for tensor in reader.tensors)):
        at = container.offset
        if container.name.startswith("GGUF."):
            continue
        for part in container.parts[:12]:
            if part.dtype == np.uint64 and part.size:
                places.append((at, f"length in {container.name}"))
            at += part.nbytes
    return places


# Running


def run_case(case):
    """Run the command lines of a case in the current folder; returns exit codes and failures."""
    codes, failures = [], []
    before = dict(os.environ)
    os.environ.update(case.environment)
    try:
        for line in case.lines:
            code, output, failure = _invoke(line, case.stdin)
            codes.append(code)
            failures += [f"{line}: {failure}"] if failure else []
            failures += _dishonest(output)
        if case.check_python:
            failures += _score_from_python(case)
    finally:
        os.environ.clear()
        os.environ.update(before)
    for path in map(Path, ("out.jsonl", "out.csv", "out.parquet")):
        if path.is_file() and not path.is_symlink():
            failures += _dishonest_file(path)
    if Path("canary").exists() or Path("model/canary").exists():
        failures.append("a canary was made: something was executed")
    return codes, failures


def _invoke(line, stdin):
    """One command line in this process: exit code, standard output, and what escaped or None."""
    from splinelens.cli import app

    streams = sys.stdin, sys.stdout, sys.stderr
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    written = sys.stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    sys.stderr = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    code, failure = None, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            app(line, prog_name="splinelens")
    except SystemExit as end:
        code = end.code
        if code not in (0, 1, 2):
            failure = f"exit code {code!r}"
        sys.stderr.flush()
        sys.stdout.flush()
        told = sys.stderr.buffer.getvalue().decode()
        if code == 1 and not (told.strip() or written.buffer.getvalue() or line[:2] == ["models", "check"]):
            failure = "exit code 1 without a message"
        if "Traceback" in told:
            failure = told[-3000:]
        if "--verbose" in sys.argv:
            print(
                ascii(line)[:300],
                code,
                told.strip()[-600:].encode(errors="backslashreplace").decode(),
                sep="\n  ",
                file=streams[2],
            )
    except BaseException:
        failure = traceback.format_exc()[-3000:]
    finally:
        written.flush()
        sys.stdin, sys.stdout, sys.stderr = streams
    return code, written.buffer.getvalue().decode(errors="replace"), failure


def _dishonest(output):
    """Records of scores whose verdict is not honest, or that are no strict JSON."""
    failures = []
    for line in output.splitlines():
        if line.startswith('{"'):
            try:
                record = json.loads(line, parse_constant=lambda constant: 1 / 0)
            except ZeroDivisionError:
                failures.append(f"not strict JSON: {line[:300]}")
            except ValueError:
                continue
            else:
                failures += _dishonest_record(record)
    return failures


def _dishonest_record(record):
    verdict, score = record.get("verdict"), record.get("score")
    if verdict is None or verdict == "undetermined":
        return []
    honest = isinstance(score, int | float) and math.isfinite(score) and 0 <= score <= 1
    return [] if honest else [f"score {score!r} has the verdict {verdict!r}"]


def _dishonest_file(path):
    if path.suffix == ".jsonl":
        return _dishonest(path.read_text("utf-8"))
    if path.suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8", errors="replace"))))
        with contextlib.suppress(ValueError, TypeError):
            rows = [row | {"score": float(row["score"]) if row.get("score") else None} for row in rows]
    else:
        import pyarrow.parquet

        rows = pyarrow.parquet.read_table(path).to_pylist()
    return [failure for row in rows for failure in _dishonest_record(row)]


def _score_from_python(case):
    """The records of the detector in the folder; what is no error of ours is a failure."""
    from splinelens import Detector
    from splinelens.errors import SplinelensError

    model = next((line[line.index("--model") + 1] for line in case.lines if "--model" in line), None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            detector = Detector.load(Path("detector"), model=model)
            records = detector.score(["you are a toad", ""])
            repr(detector)
    except SplinelensError:
        return []
    except Exception:
        return [f"from Python: {traceback.format_exc()[-3000:]}"]
    return [failure for record in records for failure in _dishonest_record(record.to_dict())]


def _work(kind, seed, indices, sound_folder, results):
    """Run cases one after the other in a child process, and send each result."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2) if "--verbose" not in sys.argv else None
    sound = load_sound(sound_folder)
    socket.socket.connect = _no_network
    for index in indices:
        faulthandler.dump_traceback_later(LIMIT_S - 5)  # to standard error, which only --verbose shows
        results.send(("start", index, ""))
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            case, codes, failures = Case("", []), [], []
            try:
                case = make_case(kind, sound, seed, index)
                results.send(("start", index, case.about))
                codes, failures = run_case(case)
            except BaseException:
                failures = [f"of this program: {traceback.format_exc()}"]
            os.chdir("/")
        results.send(("end", index, (case.about, codes, failures)))
    results.send(("done", None, None))


def _no_network(*arguments):
    raise AssertionError(f"the network was tried: {arguments[1:]}")


def load_sound(folder):
    """The sound inputs in a folder, made at the first call."""
    import conftest
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    if not (folder / "made").exists():
        make_sound(folder, conftest.build_tiny, conftest.build_tokenizer(), conftest.TINY)
        (folder / "made").touch()
    models = {path.name: path for path in (folder / "models").iterdir()}
    detectors = {path.name: path for path in (folder / "detectors").iterdir()}
    return Sound(models, detectors, folder / "comments.csv", folder / "tiny.gguf")


def main():
    """Run cases of one kind and print a summary; exits 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run the case of this number")
    parser.add_argument(
        "--verbose", action="store_true", help="print every command line, exit code and message"
    )
    options = parser.parse_args()
    indices = [*range(options.count)] if options.only is None else [options.only]
    exits, failed = Counter(), []
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        load = fork.Process(target=load_sound, args=(Path(folder),))
        load.start()
        load.join()
        while indices:
            ours, theirs = fork.Pipe(duplex=False)
            child = fork.Process(
                target=_work, args=(options.kind, options.seed, indices, Path(folder), theirs)
            )
            child.start()
            theirs.close()
            current, running = indices[0], ""
            while True:
                try:
                    message, index, result = ours.recv() if ours.poll(LIMIT_S) else ("hang", current, None)
                except EOFError:
                    message, index, result = "died", current, None
                if message == "start":
                    current, running = index, result
                    continue
                if message == "done":
                    indices = []
                    break
                if message == "end":
                    about, codes, failures = result
                    exits.update(codes)
                else:
                    failures, about = [message], running
                indices = [each for each in indices if each != index]
                if failures:
                    failed.append(index)
                    print(
                        f"FAILED {index}: {about!a}\n" + "\n".join(map(ascii, failures)).replace("\\n", "\n"),
                        flush=True,
                    )
                elif options.verbose:
                    print(f"{index}: {about!a} {codes}", flush=True)
                if message in ("hang", "died"):
                    child.kill()
                    break
            child.join()
    total = options.count if options.only is None else 1
    counts = ", ".join(f"{code}: {count}" for code, count in sorted(exits.items(), key=str))
    print(
        f"{options.kind}, seed {options.seed}: {total} cases, {len(failed)} failed {failed}; exit codes {counts}"
    )
    sys.exit(bool(failed))


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    main()
