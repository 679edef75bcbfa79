"""The intent classifier: a question's vector and wording to probabilities over the seven intents."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .errors import ConfigurationError
from .intents import INTENTS, IntentPrediction
from .wording import NAMES, wording

Matrix = npt.NDArray[np.float32]

DIM = 384
"""Components of all-MiniLM-L6-v2's vectors."""

_SHIPPED = Path(__file__).with_name("weights") / "intents.npz"


@dataclass(frozen=True, kw_only=True)
class IntentClassifier:
    """Multinomial logistic regression over [vector, wording].

    of_vector: float32 [384, 7]. of_wording: float32 [len(wording.NAMES), 7]. bias: float32 [7]; the columns are
    `INTENTS`. embedder: the fingerprint of the embedder whose vectors it was trained on; another one's mean nothing to
    it, whatever their number of components.
    """

    of_vector: Matrix
    of_wording: Matrix
    bias: Matrix
    embedder: str

    def __post_init__(self) -> None:
        shapes = self.of_vector.shape, self.of_wording.shape, self.bias.shape
        wanted = (DIM, len(INTENTS)), (len(NAMES), len(INTENTS)), (len(INTENTS),)
        if shapes != wanted:
            raise ValueError(f"weights of shapes {shapes}, not {wanted}")

    @classmethod
    def load(cls, path: Path | None = None) -> IntentClassifier:
        """Read weights from an .npz file, None for the shipped ones; raises `ConfigurationError`."""
        return _shipped() if path is None else _load(Path(path))

    def predict(self, question: str, vector: npt.NDArray[np.float32] | None) -> IntentPrediction:
        """The intents of `question`; `vector`: its unit vector, float32 [384], or None to go by the wording alone."""
        scores = wording(question) @ self.of_wording + self.bias
        if vector is not None:
            if vector.shape != (DIM,):
                raise ValueError(f"a question's vector has shape {(DIM,)}, not {vector.shape}")
            scores = scores + vector @ self.of_vector
        return IntentPrediction(dict(zip(INTENTS, _softmax(scores), strict=True)))


@cache
def _shipped() -> IntentClassifier:
    return _load(_SHIPPED)


def _load(path: Path) -> IntentClassifier:
    remedy = "train one with `slarag train intents`, or leave it out to use the shipped one"
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            columns = list(file["intents"]), list(file["wording"])
            if columns != (list(INTENTS), list(NAMES)) or "embedder" not in file:
                raise ConfigurationError(f"{str(path)!r} was trained for another version", remedy=remedy)
            parts = {name: file[name].astype(np.float32) for name in ("of_vector", "of_wording", "bias")}
            embedder = str(file["embedder"])
        return IntentClassifier(**parts, embedder=embedder)
    except OSError as error:
        reason = error.strerror or "not an .npz file"
        raise ConfigurationError(f"intent weights {str(path)!r} cannot be read: {reason}", remedy=remedy) from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigurationError(f"intent weights {str(path)!r} are damaged: {error}", remedy=remedy) from None


def _softmax(scores: npt.NDArray[np.float32]) -> list[float]:
    z = scores.astype(np.float64) - float(scores.max())
    e = np.exp(z)
    return (e / e.sum()).tolist()
