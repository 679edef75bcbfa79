"""Feedback on answers, a line of JSON each: written by the engine, read by the calibration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .sla.answer import Answer
from .sla.confidence import ConfidenceFeatures
from .sla.errors import DataError, StorageError
from .sla.measured_run import MeasuredRun

SCHEMA = 1
_REMEDY = "give a file that Engine.feedback wrote, or take the line out"


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


def read_feedback(path: Path) -> list[MeasuredRun]:
    """The runs that `path` tells of; of several lines on one answer the last. Raises `DataError` naming the line.

    Answers without features, where nothing was found, are left out: there was no confidence to be right or wrong.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a UTF-8 text file"
        raise DataError(f"feedback {str(path)!r} cannot be read: {reason}", remedy="check the path") from None
    found: dict[tuple[str, str], MeasuredRun] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if row["schema"] != SCHEMA:
                raise ValueError(f"schema {row['schema']!r}, not {SCHEMA}")
            if row["features"] is not None:
                found[row["question_id"], row["text"]] = _run(row)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path.name}:{number}: not a line of feedback ({error})", remedy=_REMEDY) from None
    return list(found.values())


def _run(row: Mapping[str, Any]) -> MeasuredRun:
    return MeasuredRun(
        plan_key=str(row["plan_key"]),
        intent=row["intent"],
        f1=float(row["f1"]),
        wrong=bool(row["wrong"]),
        answered=bool(row["answered"]),
        latency_ms=float(row["latency_ms"]),
        device_seconds=float(row["device_seconds"]),
        features=ConfidenceFeatures(**row["features"]),
        question_id=f"feedback/{row['question_id']}",
    )
