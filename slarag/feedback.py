"""Feedback on answers, a line of JSON each."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from .sla.answer import Answer
from .sla.errors import StorageError

SCHEMA = 1


def append_feedback(answer: Answer, correct: bool, path: Path) -> None:
    """Append one line to `path`, in one write. Raises `StorageError`."""
    line = json.dumps(feedback_row(answer, correct), ensure_ascii=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        raise StorageError(
            f"feedback cannot be written to {str(path)!r}: {error.strerror}", remedy="check the path and the disk"
        ) from error


def feedback_row(answer: Answer, correct: bool) -> dict[str, Any]:
    """What a calibration needs of an answered question; whether the answer is right is all that is known of its F1."""
    return {
        "schema": SCHEMA,
        "question_id": hashlib.blake2b(answer.question.encode(), digest_size=8).hexdigest(),
        "question": answer.question,
        "text": answer.best_text,
        "profile": answer.profile,
        "plan_key": answer.decisions[-1].plan.key if answer.decisions else "",
        "intent": answer.intent.top,
        "f1": float(correct),
        "wrong": not correct,
        "answered": bool(answer.best_text),
        "abstained": answer.abstained,
        "confidence": answer.confidence,
        "latency_ms": answer.timings_ms.get("total", 0.0),
        "device_seconds": answer.device_seconds,
        "features": answer.features.to_dict() if answer.features else None,
    }
