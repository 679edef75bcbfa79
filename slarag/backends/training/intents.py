"""How the intent classifier is made: from public questions and the project's own to weights and their scores.

The features are the question's vector and its wording; the model is a multinomial logistic regression. It is scored
twice on questions it did not see: of other sources (trained on half `a`, tested on half `b`, and the other way
round), and of the same sources (five folds at random). What ships is then trained on all of them.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...minilm.fingerprint import fingerprint
from ...minilm.folder import find_model_folder as parent_folder
from ...sla.errors import ConfigurationError
from ...sla.intents import INTENTS
from ...sla.wording import NAMES, wording
from .intent_sources import SOURCES, Half, Question, read_all
from .intent_templates import own_questions

Vectors = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]
Embed = Callable[[list[str]], Vectors]

SCHEMA = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """vector_scale: weight of the vector against the wording, chosen on the reversed split. inverse_ridge: sklearn's C.

    own_per_intent: questions from the project's templates. folds: of the random split. seed: of every draw.
    """

    vector_scale: float = 1.0
    inverse_ridge: float = 0.3
    own_per_intent: int = 130
    folds: int = 5
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Data:
    questions: list[Question]
    x: Numbers
    y: npt.NDArray[np.intp]

    def take(self, chosen: npt.NDArray[np.bool_]) -> _Data:
        kept = [question for question, keep in zip(self.questions, chosen, strict=True) if keep]
        return _Data(kept, self.x[chosen], self.y[chosen])


def train_intents(
    data: Path,
    out: Path,
    *,
    embed: Embed | None = None,
    embedder: str | None = None,
    settings: Settings | None = None,
    report: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Train on the files under `data` and write `intents.npz` and `intents.json` into `out`; returns the latter's
    content.

    embed: unit vectors float32 [n, 384] of questions, by the embedder with the fingerprint `embedder`; both are
    all-MiniLM-L6-v2's when None. Raises `ConfigurationError` when `data` lacks questions of an intent.
    """
    settings = settings or Settings()
    if (embed is None) != (embedder is None):
        raise ValueError("embed and embedder belong together: whoever embeds says with which weights")
    questions = [*read_all(data, seed=settings.seed), *own_questions(settings.own_per_intent, settings.seed)]
    _check(questions, data)
    report(f"{len(questions)} questions of {len({q.source for q in questions})} sources")
    full = _features(questions, embed or _parent_embedder(), settings)
    splits = {
        "by_source": _across(full, "a", "b", settings),
        "by_source_reversed": _across(full, "b", "a", settings),
        "random": _at_random(full, settings),
    }
    for name, split in splits.items():
        report(f"{name}: macro-F1 {split['macro_f1']:.3f}, accuracy {split['accuracy']:.3f} on {split['tested']}")
    temperature = _temperature(full, settings)
    weights, bias = _fit(full, settings)
    trained_with = embedder or fingerprint(parent_folder())
    _save_weights(out / "intents.npz", weights / temperature, bias / temperature, settings, trained_with)
    card = _card(questions, splits, temperature, settings)
    (out / "intents.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return card


def _check(questions: Sequence[Question], data: Path) -> None:
    for half in ("a", "b"):
        missing = sorted(set(INTENTS) - {q.intent for q in questions if q.half == half})
        if missing:
            files = sorted({source.path for source in SOURCES if not (data / source.path).is_file()})
            raise ConfigurationError(
                f"{str(data)!r} holds no questions of {missing} in half {half!r}",
                remedy=f"add the files {files[:4]}" if files else "raise the limits of the sources",
            )


def _parent_embedder() -> Embed:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(parent_folder()), device="cpu")
    return lambda texts: np.asarray(model.encode(texts, batch_size=64, normalize_embeddings=True), dtype=np.float32)


def _features(questions: list[Question], embed: Embed, settings: Settings) -> _Data:
    texts = [question.text for question in questions]
    vectors = embed(texts).astype(np.float64) * settings.vector_scale
    worded = np.stack([wording(text) for text in texts]).astype(np.float64)
    y = np.array([INTENTS.index(question.intent) for question in questions], dtype=np.intp)
    return _Data(questions, np.concatenate([vectors, worded], axis=1), y)


def _fit(data: _Data, settings: Settings) -> tuple[Numbers, Numbers]:
    """Weights [features, 7] and bias [7]."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=settings.inverse_ridge, max_iter=2000)
    model.fit(data.x, data.y, sample_weight=_balanced(data.questions))
    return np.asarray(model.coef_, dtype=np.float64).T, np.asarray(model.intercept_, dtype=np.float64)


def _balanced(questions: Sequence[Question]) -> Numbers:
    """Every intent weighs the same, and within it a source by the root of its questions: mean 1."""
    size = Counter((q.intent, q.source) for q in questions)
    weight = {key: count**-0.5 for key, count in size.items()}
    total: dict[str, float] = defaultdict(float)
    for q in questions:
        total[q.intent] += weight[q.intent, q.source]
    share = len(questions) / len(total)
    return np.array([weight[q.intent, q.source] / total[q.intent] * share for q in questions])


def _is_of(data: _Data, *halves: Half) -> npt.NDArray[np.bool_]:
    return np.array([question.half in halves for question in data.questions])


def _across(data: _Data, train: Half, test: Half, settings: Settings) -> dict[str, Any]:
    """Train on one half and the project's own questions, test on the other half."""
    weights, bias = _fit(data.take(_is_of(data, train, "own")), settings)
    held = data.take(_is_of(data, test))
    said = (held.x @ weights + bias).argmax(axis=1)
    by_source = {
        name: float(np.mean([a == b for a, b, q in zip(said, held.y, held.questions, strict=True) if q.source == name]))
        for name in sorted({question.source for question in held.questions})
    }
    sources = {half: sorted({q.source for q in data.questions if q.half == half}) for half in (train, test)}
    found = {"trained_on": [*sources[train], "own"], "tested_on": sources[test], **_scores(held.y, said)}
    return {**found, "accuracy_by_source": {name: round(value, 4) for name, value in by_source.items()}}


def _at_random(data: _Data, settings: Settings) -> dict[str, Any]:
    """Every public question is tested once, by a model trained on the other folds and the project's own questions."""
    public = _is_of(data, "a", "b")
    fold = np.random.default_rng(settings.seed).integers(settings.folds, size=len(data.y))
    said = np.zeros_like(data.y)
    for held in range(settings.folds):
        test = public & (fold == held)
        weights, bias = _fit(data.take(~test), settings)
        said[test] = (data.x[test] @ weights + bias).argmax(axis=1)
    return {"folds": settings.folds, **_scores(data.y[public], said[public])}


def _scores(y: npt.NDArray[np.intp], said: npt.NDArray[np.intp]) -> dict[str, Any]:
    """Confusion matrix (rows: true), per-class and macro F1, accuracy."""
    confusion = np.zeros((len(INTENTS), len(INTENTS)), dtype=int)
    np.add.at(confusion, (y, said), 1)
    hits = confusion.diagonal()
    f1 = 2 * hits / np.maximum(confusion.sum(axis=0) + confusion.sum(axis=1), 1)
    return {
        "tested": len(y),
        "macro_f1": round(float(f1.mean()), 4),
        "accuracy": round(float(hits.sum() / len(y)), 4),
        "f1": {intent: round(float(value), 4) for intent, value in zip(INTENTS, f1, strict=True)},
        "confusion": confusion.tolist(),
    }


def _temperature(data: _Data, settings: Settings) -> float:
    """What the scores are divided by so that they are probabilities on sources that were not trained on.

    Minimises the log loss of both halves, each under the model of the other, with every intent weighing the same.
    """
    scores: list[Numbers] = []
    y: list[npt.NDArray[np.intp]] = []
    directions: tuple[tuple[Half, Half], ...] = (("a", "b"), ("b", "a"))
    for train, test in directions:
        weights, bias = _fit(data.take(_is_of(data, train, "own")), settings)
        held = data.take(_is_of(data, test))
        scores.append(held.x @ weights + bias)
        y.append(held.y)
    z, truth = np.concatenate(scores), np.concatenate(y)
    weight = 1 / np.bincount(truth, minlength=len(INTENTS))[truth]
    tried = np.geomspace(0.5, 5, 60)
    return float(tried[np.argmin([_log_loss(z / t, truth, weight) for t in tried])])


def _log_loss(z: Numbers, y: npt.NDArray[np.intp], weight: Numbers) -> float:
    top = z.max(axis=1, keepdims=True)
    log_p = z - top - np.log(np.exp(z - top).sum(axis=1, keepdims=True))
    return float(-(weight * log_p[np.arange(len(y)), y]).sum() / weight.sum())


def _save_weights(path: Path, weights: Numbers, bias: Numbers, settings: Settings, embedder: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    dim = len(weights) - len(NAMES)
    np.savez_compressed(
        path,
        of_vector=(weights[:dim] * settings.vector_scale).astype(np.float16),
        of_wording=weights[dim:].astype(np.float32),
        bias=bias.astype(np.float32),
        intents=np.array(INTENTS),
        wording=np.array(NAMES),
        embedder=np.array(embedder),
    )


def _card(
    questions: Sequence[Question], splits: dict[str, dict[str, Any]], temperature: float, settings: Settings
) -> dict[str, Any]:
    counts = Counter((q.source, q.intent) for q in questions)
    sources: list[dict[str, Any]] = [
        {"name": source.name, "half": source.half, "path": source.path, "licence": source.licence} for source in SOURCES
    ]
    own: dict[str, Any] = {"name": "own", "half": "own", "path": "intent_templates.yaml", "licence": "this project's"}
    for source in (*sources, own):
        source["questions"] = {i: counts[source["name"], i] for i in INTENTS if counts[source["name"], i]}
    return {
        "schema": SCHEMA,
        "intents": list(INTENTS),
        "model": "multinomial logistic regression over the vector of all-MiniLM-L6-v2 and the wording",
        "settings": {name: getattr(settings, name) for name in settings.__slots__},
        "temperature": round(temperature, 4),
        "splits": splits,
        "sources": [*sources, own],
    }
