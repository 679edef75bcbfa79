"""Texts to unit vectors."""

from __future__ import annotations

import importlib
import json
import threading
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from ..minilm.fingerprint import fingerprint
from ..minilm.folder import MODEL_NAME, find_model_folder
from ..minilm.precision import bfloat16_is_fast
from .ranking import Scores

_MAX_CHARACTERS = 8_000  # far more than the model's 256 tokens hold; a longer text only costs tokenizing
_LENGTH_STEP = 8
"""Tokens that the length of a batch in bfloat16 is a multiple of.

For each shape of a product its own code is compiled, about half a megabyte, and kept: with all lengths up to 256 that
comes to half a gigabyte. A twentieth of the tokens at most is padding for this.
"""


class TextEncoder(Protocol):
    """Turns texts into unit vectors; `fingerprint` changes when the vectors would."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names the exact weights; an index of another fingerprint is refused."""
        ...

    @property
    def dim(self) -> int:
        """Components of a vector."""
        ...

    def encode(self, texts: list[str]) -> Scores:
        """Unit vectors of `texts`, float32 [n, dim]; safe from several threads."""
        ...


class MiniLmEncoder:
    """all-MiniLM-L6-v2 by sentence-transformers, from a folder on this machine; loaded on first use.

    Many texts, as of passages to index, are computed in bfloat16 where the CPU multiplies it in hardware: twice as
    fast, the vectors within 1e-4 (1 - cosine) of those in float32, in which fewer texts are computed, as of questions.

    threads: torch threads while it works, None for torch's own number. many: texts from which on they are many.
    batch_size: of many, texts a forward pass; fewer at once stay in the processor's caches and take less memory.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        threads: int | None = None,
        batch_size: int = 16,
        many: int = 64,
    ) -> None:
        self._given = folder
        self._threads = threads
        self._batch_size = batch_size
        self._many = many
        self._loaded: Any = None
        # Also because a tokenizer of the library fails when two threads use it at once.
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The model's name on the hub."""
        return MODEL_NAME

    @cached_property
    def folder(self) -> Path:
        """Where the weights lie; raises `ConfigurationError` when they are not on this machine."""
        return find_model_folder(self._given)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the weights, the tokenizer and the settings."""
        return fingerprint(self.folder)

    @cached_property
    def dim(self) -> int:
        """384 for all-MiniLM-L6-v2."""
        config = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        return int(config["hidden_size"])

    def encode(self, texts: list[str]) -> Scores:
        """Unit vectors of `texts`, float32 [n, 384]; only the first 256 tokens of a text count."""
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        are_many = len(texts) >= self._many
        low = are_many and bfloat16_is_fast()
        with self._lock:
            model = self._model()
            with _autocast(enabled=low), _few_lengths(model, enabled=low):
                vectors = model.encode(
                    [text[:_MAX_CHARACTERS] for text in texts],
                    batch_size=self._batch_size if are_many else self._many,
                    show_progress_bar=False,
                    normalize_embeddings=True,
                )
        return np.ascontiguousarray(vectors, dtype=np.float32)

    def _model(self) -> Any:
        if self._threads is not None:
            cast(Any, importlib.import_module("torch")).set_num_threads(self._threads)
        if self._loaded is None:
            self._loaded = _load(self.folder)
        return self._loaded


def _autocast(*, enabled: bool) -> AbstractContextManager[Any]:
    torch: Any = importlib.import_module("torch")
    return torch.autocast("cpu", torch.bfloat16, enabled=enabled)


def _few_lengths(model: Any, *, enabled: bool) -> AbstractContextManager[Any]:
    """Batches that `model` gets are padded to a multiple of `_LENGTH_STEP` tokens."""
    return model[0].register_forward_pre_hook(_pad) if enabled else nullcontext()


def _pad(_: Any, arguments: tuple[dict[str, Any]]) -> None:
    """Pad a batch of features (input ids, attention mask and their like, [texts, tokens]) in place."""
    pad: Any = cast(Any, importlib.import_module("torch.nn.functional")).pad
    features = arguments[0]
    shape = features["input_ids"].shape
    for name, value in features.items():
        if getattr(value, "shape", None) == shape:
            features[name] = pad(value, (0, -shape[1] % _LENGTH_STEP))


def _load(folder: Path) -> Any:
    library: Any = importlib.import_module("sentence_transformers")
    logs: Any = importlib.import_module("transformers.utils.logging")
    # Loading draws a progress bar on stderr, which belongs to people's words.
    shown = logs.is_progress_bar_enabled()
    logs.disable_progress_bar()
    try:
        return library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    finally:
        if shown:
            logs.enable_progress_bar()
