"""A backend of one's own: it answers with the sentence that shares most words with the question.

Run it with `python examples/own_backend.py [FOLDER]`. The conformance suite says whether a backend keeps its promises.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from pathlib import Path

from slarag import Answer, Engine, Profile, Span, build_index
from slarag.backends import protocol
from slarag.backends.conformance import check_backend
from slarag.demo import pages_folder
from slarag.sla.errors import BackendUnavailableError

SENTENCE = re.compile(r"[^\s#][^.!?\n]*[.!?]?")
DENIAL = re.compile(r"\b(no|not|never)\b", re.IGNORECASE)


class SentenceReader:
    """Ranks sentences by the share of the question's words that occur in them."""

    name = "sentences"
    capabilities: frozenset[protocol.Capability] = frozenset({"answer"})

    async def answer(self, request: protocol.AnswerRequest) -> protocol.AnswerResult:
        """The best sentences; their probabilities and that of no answer add up to at most 1."""
        protocol.seconds_left(request.deadline, self.name)
        asked, best = words(request.question), dict[str, tuple[float, Span]]()
        for passage in request.passages:
            for found in SENTENCE.finditer(passage.text):
                share = len(asked & words(found[0])) / max(1, len(asked))
                text = found[0] if request.kind != "yes_no" else "no" if DENIAL.search(found[0]) else "yes"
                if share > best.get(text, (0.0,))[0]:
                    best[text] = share, Span(passage_id=passage.passage_id, start=found.start(), end=found.end())
        total = 1 + sum(share for share, _ in best.values())
        ranked = sorted(best.items(), key=lambda item: (-item[1][0], item[0]))[: request.n_best]
        candidates = [protocol.Candidate(text=t, spans=(span,), probability=s / total) for t, (s, span) in ranked]
        return protocol.AnswerResult(candidates=tuple(candidates), no_answer=1 / total, usd=0.0)

    async def verify(self, request: protocol.VerifyRequest) -> protocol.VerifyResult:
        """Not among its capabilities."""
        raise BackendUnavailableError(f"backend {self.name!r} does not verify")

    async def generate(self, request: protocol.GenerateRequest) -> protocol.GenerateResult:
        """Not among its capabilities."""
        raise BackendUnavailableError(f"backend {self.name!r} does not write")

    async def load(self) -> protocol.BackendLoad:
        """It never has anything waiting."""
        return protocol.BackendLoad()

    async def aclose(self) -> None:
        """It holds nothing."""


def words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > 3}


def main(folder: Path | None = None, profile: str | Profile = "fast") -> Answer:
    for outcome in asyncio.run(check_backend(SentenceReader)):
        print(f"{outcome.status:8} {outcome.check} {outcome.why}")
    with tempfile.TemporaryDirectory() as scratch:
        build_index([folder or pages_folder()], Path(scratch) / "index")
        with Engine.open(Path(scratch) / "index", backend=SentenceReader()) as engine:
            answer = engine.ask("When was the first Fortran compiler delivered?", profile)
    print(f"{answer.question}\n{answer.text or answer.abstain_reason}  (confidence {answer.confidence:.0%})")
    return answer


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
