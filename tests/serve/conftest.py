"""Two tiny detectors of one tiny model, as ``toxicity`` and ``types``, and a client of a server of them."""

import numpy as np
import pytest
from starlette.testclient import TestClient

from splinelens.apps.group import DetectorGroup
from splinelens.apps.training import fit_detector
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.models import load_model
from splinelens.serve.app import create_app
from splinelens.serve.service import ScoringService

TYPES = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
WORDS = ("rude", "vile", "swear", "kill", "fool", "tribe")
FILL = ["you and the lot", "what we said there", "a thing of the sea", "good to you all"]
_MADE = {}  # fitting takes seconds


@pytest.fixture
def folders(tiny_llama, tiny_tokenizer, tmp_path_factory):
    """The folders of a binary detector and of one of six labels, each for a word."""
    if not _MADE:
        folder = tmp_path_factory.mktemp("served")
        tiny_llama.save_pretrained(folder / "model")
        tiny_tokenizer.save_pretrained(folder / "model")
        loaded = load_model(str(folder / "model"), n_layers=2, device="cpu")
        labels = np.random.default_rng(0).integers(0, 2, size=(96, 6))
        labels[::3] = 0
        own = [" ".join(word for word, there in zip(WORDS, row, strict=True) if there) for row in labels]
        texts = [f"{FILL[row % 4]} {word} {row}" for row, word in enumerate(own)]
        reader = TextReader(loaded, FeatureSpec(features=("margins",), max_tokens=64))
        common = {"negative": "clean", "strengths": (1.0,)}
        fit_detector(texts, labels[:, 0], reader, name="toxicity", label="toxic", **common).artifact.save(
            folder / "toxicity"
        )
        fit_detector(texts, labels, reader, name="types", label=TYPES, task="labels", **common).artifact.save(
            folder / "types"
        )
        _MADE["folders"] = [folder / "toxicity", folder / "types"]
    return _MADE["folders"]


@pytest.fixture
def group(folders):
    """Both detectors, in one pass."""
    if "group" not in _MADE:
        _MADE["group"] = DetectorGroup.load(folders, max_text_tokens=200)
    return _MADE["group"]


@pytest.fixture
def served(group):
    """Starts an application in this process and returns its client: ``served(keys=["secret"])``."""
    clients = []

    def start(*, max_waiting=512, **options):
        service = ScoringService(group, max_waiting=max_waiting, max_text_tokens=200)
        client = TestClient(create_app(service, **options))
        client.service = service
        clients.append(client)
        return client.__enter__()

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(served):
    """The client of a server without a key."""
    return served()
