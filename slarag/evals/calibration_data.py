"""The questions and documents that a calibration uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, zip_longest

from ..sla.errors import DataError
from ..sla.evidence import Passage
from ..sla.plan import Plan
from .calibration_settings import CalibrationSettings
from .formats import Dataset
from .item import EvalItem

CONFIDENCE_PLANS = 6
READING_BLOCK = 7
"""Further questions that follow one another are read the same way: not in step with the files taken in turn."""
ITEM_SEPARATOR = "/"


def choose(datasets: Sequence[Dataset], settings: CalibrationSettings) -> tuple[list[EvalItem], list[EvalItem]]:
    """The questions that every plan runs on, none where a calibration is kept, and those for the confidence alone.

    Raises `DataError` without any.
    """
    items = choose_items(datasets, settings) if settings.kept is None else []
    others = choose_others(datasets, settings, items)
    if not items and not others:
        raise DataError(
            f"no question of {[str(path) for path in settings.data]} has an answer to score",
            remedy="give questions with answers",
        )
    return items, others


def choose_items(datasets: Sequence[Dataset], settings: CalibrationSettings) -> list[EvalItem]:
    """Questions with an answer key, taken from the files in turn; few unanswerable ones."""
    per_file = -(-settings.limit // len(datasets))
    allowed = round(per_file * settings.unanswerable_share)
    return _in_turn([_drawn(dataset, per_file, allowed, settings.seed) for dataset in datasets])[: settings.limit]


def choose_others(
    datasets: Sequence[Dataset], settings: CalibrationSettings, without: Sequence[EvalItem]
) -> list[EvalItem]:
    """Further questions with an answer key, from the files in turn; those that have more fill up what others lack."""
    taken = {item.item_id for item in without}
    count = settings.confidence_questions
    per_file = count + len(taken)
    rows = [_drawn(dataset, per_file, per_file, settings.seed) for dataset in datasets]
    return _in_turn([[item for item in row if item.item_id not in taken] for row in rows])[:count]


def plans_for(position: int, plans: Sequence[Plan]) -> list[Plan]:
    """The few plans that further question `position` runs under; together the questions go through all."""
    step = max(1, len(plans) // CONFIDENCE_PLANS)
    return list(plans[position % step :: step])


def reads_own_passages(position: int, item: EvalItem) -> bool:
    """Whether further question `position` is read over its own passages instead of retrieving."""
    return position // READING_BLOCK % 2 != 0 and bool(item.passages)


def corpus_of(item: EvalItem) -> str:
    """The name of the file that a chosen question is from."""
    return item.item_id.split(ITEM_SEPARATOR, 1)[0]


def _drawn(dataset: Dataset, count: int, allowed: int, seed: int) -> list[EvalItem]:
    """`count` items with an answer key, at most `allowed` of them unanswerable."""
    taken: list[EvalItem] = []
    for item in dataset.ranked(seed):
        if len(taken) == count:
            break
        if item.is_impossible:
            allowed -= 1
        if item.has_answer_key and (not item.is_impossible or allowed >= 0):
            taken.append(replace(item, item_id=f"{dataset.path.name}{ITEM_SEPARATOR}{item.item_id}"))
    return taken


def _in_turn(rows: Sequence[Sequence[EvalItem]]) -> list[EvalItem]:
    return [item for column in zip_longest(*rows) for item in column if item is not None]


def all_documents(datasets: Iterable[Dataset]) -> Iterator[Passage]:
    """The documents of all data sets, each once."""
    seen: set[str] = set()
    for passage in chain.from_iterable(dataset.documents() for dataset in datasets):
        if passage.document_id not in seen:
            seen.add(passage.document_id)
            yield passage
