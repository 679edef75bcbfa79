"""One question of an evaluation, and what counts as having found its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..sla.evidence import Passage
from ..sla.intents import Intent


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldPassage:
    """Evidence that a question's author marked; what is empty was not said.

    document_id: of the source. start, end: characters of the evidence in the source, if narrower than the whole of it.
    text: of the evidence, which finds it in an index that was built elsewhere. title: set only where a title names
    one passage.
    """

    document_id: str = ""
    start: int | None = None
    end: int | None = None
    text: str = ""
    title: str = ""

    def is_in(self, passage: Passage) -> bool:
        """Whether `passage` shows this evidence: by source and offsets, by text, or by title."""
        if self.document_id and passage.document_id == self.document_id:
            return self._overlaps(passage)
        if self.text and _same_text(self.text, passage.text):
            return True
        return bool(self.title) and self.title.casefold() == passage.title.casefold()

    def _overlaps(self, passage: Passage) -> bool:
        if self.start is None or self.end is None:
            return True
        return passage.start < self.end and self.start < passage.start + len(passage.text)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalItem:
    """One question with what its data set says about it.

    answers: any of them is right. is_impossible: the right reply is to abstain. An item with neither is scored on
    retrieval only. passages: the row's own, for reading mode. gold: its evidence; empty where the data names none.
    intent_hint: the intent that the data set's own label implies.
    """

    item_id: str
    question: str
    answers: tuple[str, ...] = ()
    is_impossible: bool = False
    passages: tuple[Passage, ...] = ()
    gold: tuple[GoldPassage, ...] = ()
    intent_hint: Intent | None = None

    @property
    def has_answer_key(self) -> bool:
        """Whether an answer to it can be scored."""
        return self.is_impossible or bool(self.answers)

    def recall_at(self, k: int, retrieved: Sequence[Passage]) -> float | None:
        """Share of the gold passages among the first `k` retrieved; None where the data names no gold passage."""
        if not self.gold or self.is_impossible:
            return None
        found = sum(any(gold.is_in(passage) for passage in retrieved[:k]) for gold in self.gold)
        return found / len(self.gold)


def _same_text(gold: str, passage: str) -> bool:
    # A splitter may have cut a paragraph or joined its white space, so containment of a fair piece is enough.
    gold, passage = " ".join(gold.split()), " ".join(passage.split())
    shorter, longer = sorted((gold, passage), key=len)
    return len(shorter) >= min(40, len(gold)) and shorter in longer
