"""Sentence encoders: one vector a text, from the states of the last layer (sentence-transformers models)."""

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from splinelens.errors import BadModel
from splinelens.models import LoadedModel, load_model
from splinelens.models.hub import POOLING

ALL_MINILM = "sentence-transformers/all-MiniLM-L6-v2"
"""The default: 6 layers, 384 numbers a text, Apache-2.0."""

_BATCH_TOKENS = 4096


class SentenceEncoder:
    """A model of sentence-transformers, which is loaded by transformers.

    The states of the tokens are averaged, or the first one is taken where the model says so. A text that is
    longer than what the model was trained on is read in windows, and its vector is the mean over them,
    weighted by their tokens.

    Attributes:
        loaded: The model.
        width: Numbers of a vector.
        window: Tokens of a window, special ones included.

    Example:
        >>> encoder = SentenceEncoder()  # doctest: +SKIP
        >>> vectors = encoder.encode(["A cat sat.", "A kitten rested."])  # doctest: +SKIP
        >>> float(vectors[0] @ vectors[1])  # doctest: +SKIP
        0.64
    """

    def __init__(
        self,
        model: str | PathLike[str] | LoadedModel = ALL_MINILM,
        *,
        device: str | None = None,
        dtype: str | None = None,
    ):
        """Load the encoder.

        Args:
            model: A hub id or a folder, or one that is loaded.
            device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
            dtype: Number type of the weights; None takes ``float32``.

        Raises:
            BadModel: It cannot be loaded, or pools its tokens in a way that is not known.
        """
        self.loaded = (
            model if isinstance(model, LoadedModel) else load_model(model, device=device, dtype=dtype)
        )
        pooling = self._setting(POOLING)
        modes = [key for key, value in pooling.items() if key.startswith("pooling_mode_") and value is True]
        if modes not in ([], ["pooling_mode_mean_tokens"], ["pooling_mode_cls_token"]):
            raise BadModel(
                f"{self.loaded.name} pools its tokens by {', '.join(modes)}; an encoder needs the mean or "
                "the first token"
            )
        self._first = modes == ["pooling_mode_cls_token"]
        config = self.loaded.model.config
        self.width = int(config.hidden_size)  # type: ignore[union-attr, arg-type]  # set by transformers
        positions = getattr(config, "max_position_embeddings", 512)
        self.window = min(
            int(self._setting("sentence_bert_config.json").get("max_seq_length") or positions), positions
        )

    def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "text width"]:
        """A vector of length 1 for each text; those of texts without a token are of special tokens only."""
        import torch

        tokenizer, model = self.loaded.tokenizer, self.loaded.model
        tokens = tokenizer(
            list(texts),
            truncation=True,
            max_length=self.window,
            return_overflowing_tokens=True,
            return_token_type_ids=False,
            verbose=False,
        )
        windows = [*zip(tokens["overflow_to_sample_mapping"], tokens["input_ids"], strict=True)]
        windows.sort(key=lambda window: len(window[1]))
        sums = np.zeros((len(texts), self.width), np.float32)
        while windows:
            count = max(_BATCH_TOKENS // len(windows[-1][1]), 1)
            batch, windows = windows[-count:], windows[:-count]
            padded = tokenizer.pad({"input_ids": [ids for _, ids in batch]}, return_tensors="pt")
            padded = padded.to(self.loaded.device)
            with torch.inference_mode():
                states = model(**padded).last_hidden_state.float()
            mask = padded["attention_mask"].unsqueeze(-1)
            pooled = states[:, 0] * mask.sum(1) if self._first else (states * mask).sum(1)
            np.add.at(sums, [index for index, _ in batch], pooled.cpu().numpy())
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)

    def _setting(self, name: str) -> dict[str, Any]:  # Any: JSON values
        """A JSON file of the model's folder; empty if there is none."""
        path = Path(self.loaded.folder or "") / name
        try:
            return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}
        except ValueError as error:
            raise BadModel(f"{path} is damaged: {error}; fetch or save the model again") from error
