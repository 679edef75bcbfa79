"""The questions and documents that a calibration uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from ..sla.errors import DataError
from ..sla.evidence import Passage
from .calibration_settings import CalibrationSettings
from .formats import Dataset
from .item import EvalItem


def choose_items(datasets: Sequence[Dataset], settings: CalibrationSettings) -> list[EvalItem]:
    """Questions with an answer key, taken from the files in turn."""
    per_file = -(-settings.limit // len(datasets))
    drawn = [_drawn(dataset, per_file, settings) for dataset in datasets]
    mixed = [item for row in zip(*_padded(drawn, per_file), strict=True) for item in row if item is not None]
    if not mixed:
        raise DataError(
            f"no question of {[str(path) for path in settings.data]} has an answer to score",
            remedy="give questions with answers",
        )
    return mixed[: settings.limit]


def _drawn(dataset: Dataset, count: int, settings: CalibrationSettings) -> list[EvalItem]:
    allowed = round(count * settings.unanswerable_share)
    taken: list[EvalItem] = []
    for item in dataset.ranked(settings.seed):
        if item.is_impossible:
            allowed -= 1
        if item.has_answer_key and (not item.is_impossible or allowed >= 0):
            taken.append(replace(item, item_id=f"{dataset.path.name}/{item.item_id}"))
        if len(taken) == count:
            break
    return taken


def _padded(rows: Sequence[list[EvalItem]], length: int) -> Iterator[list[EvalItem | None]]:
    for row in rows:
        yield [*row, *[None] * (length - len(row))]


def all_documents(datasets: Iterable[Dataset]) -> Iterator[Passage]:
    """The documents of all data sets, each once."""
    seen: set[str] = set()
    for passage in chain.from_iterable(dataset.documents() for dataset in datasets):
        if passage.document_id not in seen:
            seen.add(passage.document_id)
            yield passage
