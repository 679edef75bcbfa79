"""Quotes: from a candidate's spans to citations that are checked, character by character, without a model."""

from __future__ import annotations

from ..retrievers.protocol import PassageRetriever
from ..sla.errors import RunError, SlaragError
from ..sla.evidence import Citation, Passage, Span, cite
from .state import Contender


def evidence_of(contender: Contender) -> tuple[Passage, ...]:
    """The passages that the answer's spans stand in, each once, in the order of the spans."""
    by_id = {passage.passage_id: passage for passage in contender.reading.passages}
    ids = dict.fromkeys(span.passage_id for span in contender.candidate.spans)
    return tuple(by_id[passage_id] for passage_id in ids if passage_id in by_id)


def citations_of(contender: Contender, retriever: PassageRetriever) -> tuple[Citation, ...]:
    """Citations of the answer's spans; a span that its source does not bear out is left out."""
    by_id = {passage.passage_id: passage for passage in contender.reading.passages}
    found = [_checked(by_id.get(span.passage_id), span, retriever) for span in contender.candidate.spans]
    return tuple(dict.fromkeys(citation for citation in found if citation is not None))


def _checked(passage: Passage | None, span: Span, retriever: PassageRetriever) -> Citation | None:
    if passage is None or not 0 <= span.start < span.end <= len(passage.text):
        return None
    citation = cite(passage, span)
    source = _source(retriever, citation.document_id)
    stands = source is None or source[citation.start : citation.end] == citation.quote
    return citation if stands else None


def _source(retriever: PassageRetriever, document_id: str) -> str | None:
    try:
        return retriever.source_text(document_id)
    except SlaragError:
        raise
    except Exception as error:
        raise RunError(
            f"the retriever failed to give the text of {document_id!r}: {type(error).__name__}: {str(error)[:200]}",
            remedy="check the retriever and its index; source_text gives None for what it does not know",
        ) from error
