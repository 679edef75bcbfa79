"""Where training examples come from: files of questions or claims, and examples derived from them.

A row file is JSON Lines, packed or not. Question rows have `context`, `question`, `answers`, `answer_starts`,
`is_impossible` (SQuAD's fields, flat); claim rows `claim`, `evidence`, `label`; yes/no rows `context`, `question` and
`label` or `answer`.
"""

from __future__ import annotations

import gzip
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]

SUPPORTED, REFUTED, NOT_ENOUGH = 1, 2, 4
_RARE = 60
_TOO_NEAR = 0.6
LABEL_BITS = {
    "SUPPORTS": SUPPORTED,
    "SUPPORTED": SUPPORTED,
    "FULLY_ATTRIBUTABLE": SUPPORTED,
    "REFUTES": REFUTED,
    "NOT_ENOUGH_INFO": NOT_ENOUGH,
    "PARTIALLY_SUPPORTED": NOT_ENOUGH,
    "GENERIC": NOT_ENOUGH,
    "NOT_SUPPORTED": REFUTED | NOT_ENOUGH,
    "NOT_FULLY_ATTRIBUTABLE": REFUTED | NOT_ENOUGH,
    "yes": SUPPORTED,
    "no": REFUTED,
    "maybe": NOT_ENOUGH,
    True: SUPPORTED,
    False: REFUTED,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One text pair to learn from.

    first: the question or the claim. passage: the text it is read against.
    start, end: characters of the answer in `passage`, or -1, -1 for "no answer here"; unused for claims.
    labels: allowed support labels as bits (`SUPPORTED | REFUTED | NOT_ENOUGH`), 0 for a reading example.
    """

    first: str
    passage: str
    start: int = -1
    end: int = -1
    labels: int = 0


def read_rows(path: Path) -> Iterator[Row]:
    """The objects of a `.jsonl` or `.jsonl.gz` file, in order."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def reading_example(row: Row) -> Example | None:
    """A question row as an example; None if its answer is not where it says."""
    if row["is_impossible"] or not row["answers"]:
        return Example(first=row["question"], passage=row["context"])
    start = row["answer_starts"][0]
    answer = row["answers"][0]
    if not answer.strip() or row["context"][start : start + len(answer)] != answer:
        return None
    return Example(first=row["question"], passage=row["context"], start=start, end=start + len(answer))


def claim_example(row: Row) -> Example | None:
    """A claim or yes/no row as an example; None for a label that says nothing about support."""
    label = row["label"] if "label" in row else row["answer"]
    bits = LABEL_BITS.get(label)
    if bits is None:
        return None
    first = row["claim"] if "claim" in row else row["question"]
    passage = row["evidence"] if "evidence" in row else row["context"]
    return Example(first=first, passage=passage, labels=bits)


def answer_as_claim(row: Row, others: list[str], rng: random.Random) -> Example | None:
    """A question with an answer in the claim's place, as the verifier asks it.

    An answerable row gives its own answer (supported) or another answer of the same passage (refuted); an unanswerable
    one gives its plausible answer (not enough).
    """
    if row["is_impossible"]:
        if not row["plausible_answers"]:
            return None
        return _claim(row, row["plausible_answers"][0], NOT_ENOUGH)
    wrong = [other for other in others if other not in row["answers"]]
    if wrong and rng.random() < 0.5:
        return _claim(row, rng.choice(wrong), REFUTED)
    return _claim(row, row["answers"][0], SUPPORTED)


def verification_text(question: str, answer: str) -> str:
    """What stands in the claim's place when an answer to a question is verified."""
    return f"{question.strip()} {answer.strip()}"


def _claim(row: Row, answer: Any, labels: int) -> Example:
    text = answer["text"] if isinstance(answer, dict) else str(answer)
    return Example(first=verification_text(row["question"], text), passage=row["context"], labels=labels)


def same_article_negatives(rows: list[Row], count: int, rng: random.Random) -> Iterator[Example]:
    """Questions against the other paragraph of their article that shares most words with them and lacks the answer.

    This is what a retriever brings up wrongly, so it teaches "no answer here" across passages.
    """
    paragraphs: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row["context"] not in paragraphs[row["title"]][-1:]:
            paragraphs[row["title"]].append(row["context"])
    words = {text: frozenset(text.lower().split()) for texts in paragraphs.values() for text in texts}
    answerable = [row for row in rows if not row["is_impossible"]]
    for row in rng.sample(answerable, min(count, len(answerable))):
        asked = frozenset(row["question"].lower().rstrip("?").split())
        answer = row["answers"][0].lower()
        rivals = [t for t in paragraphs[row["title"]] if t != row["context"] and answer not in t.lower()]
        if rivals:
            yield Example(first=row["question"], passage=max(rivals, key=lambda text: (len(asked & words[text]), text)))


def relabelled(row: Row, labels: Mapping[str, str]) -> Row:
    """The row with its label put as `labels` says, where it says something."""
    label = row.get("label")
    return {**row, "label": labels[label]} if isinstance(label, str) and label in labels else row


def rival_evidence(rows: list[Row], count: int, rng: random.Random) -> Iterator[Example]:
    """Claims against the evidence of another claim that shares most of their rarer words: not enough to judge by.

    A word counts as rare in up to `_RARE` pieces of evidence; evidence with nearly all words of a claim may prove it.
    """
    where: dict[str, list[int]] = defaultdict(list)
    words = [frozenset(row["evidence"].lower().split()) for row in rows]
    for index, text in enumerate(words):
        for word in text:
            where[word].append(index)
    for row in rng.sample(rows, min(count, len(rows))):
        asked = frozenset(row["claim"].lower().rstrip(".").split())
        near = {index for word in sorted(asked) if len(where[word]) <= _RARE for index in where[word]}
        rivals = [i for i in near if len(asked & words[i]) < _TOO_NEAR * len(asked) and not _same(row, rows[i])]
        if rivals:
            best = max(rivals, key=lambda index: (len(asked & words[index]), -index))
            yield Example(first=row["claim"], passage=rows[best]["evidence"], labels=NOT_ENOUGH)


def _same(row: Row, other: Row) -> bool:
    """Whether the two share their claim, or the evidence of one holds the other's."""
    mine, theirs = row["evidence"], other["evidence"]
    return row["claim"] == other["claim"] or mine in theirs or theirs in mine


def sampled(examples: Iterable[Example | None], limit: int | None, rng: random.Random) -> list[Example]:
    """The usable examples, at most `limit` of them, drawn at random."""
    usable = [example for example in examples if example is not None]
    return usable if limit is None or len(usable) <= limit else rng.sample(usable, limit)


ROW_KINDS: dict[str, Callable[[Row], Example | None]] = {"reading": reading_example, "claims": claim_example}
