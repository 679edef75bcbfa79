"""What an answer rests on: passages of sources, spans in them, citations of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A piece of a source document.

    start: offset of `text[0]` in the source's extracted text, in characters, so that any span of the passage is a
    span of the source. score: what retrieval gave it; higher is better, scales differ between methods.
    """

    passage_id: str
    document_id: str
    text: str
    title: str = ""
    start: int = 0
    score: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Characters `start` to `end` of the text of passage `passage_id`."""

    passage_id: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Citation:
    """A quote and where it stands: `source_text[start:end] == quote` for the extracted text of `document_id`."""

    document_id: str
    title: str
    start: int
    end: int
    quote: str
    passage_id: str


def cite(passage: Passage, span: Span) -> Citation:
    """The citation of `span`, which must be a span of `passage`."""
    if span.passage_id != passage.passage_id or not 0 <= span.start < span.end <= len(passage.text):
        raise ValueError(f"{span!r} is not a span of passage {passage.passage_id!r} ({len(passage.text)} characters)")
    return Citation(
        document_id=passage.document_id,
        title=passage.title,
        start=passage.start + span.start,
        end=passage.start + span.end,
        quote=passage.text[span.start : span.end],
        passage_id=passage.passage_id,
    )
