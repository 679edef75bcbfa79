"""A question-answering program: index a folder once, ask under two contracts, show the evidence and what was promised.

Run it with `python examples/qa_app.py [FOLDER]`; without a folder it reads the knowledge base that ships with slarag.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from slarag import Answer, Engine, ObjectiveResult, Profile, build_index
from slarag.demo import pages_folder

QUESTIONS = ("Which sea of Titan is the largest?", "How much did the Juno spacecraft cost?")
PROFILES = ("fast", "safe")


def main(folder: Path | None = None, profiles: Sequence[str | Profile] = PROFILES) -> list[Answer]:
    """Ask every question under every profile; returns the answers in that order."""
    with tempfile.TemporaryDirectory() as scratch:
        index = Path(scratch) / "index"
        build_index([folder or pages_folder()], index)
        with Engine.open(index) as engine:
            answers = [engine.ask(question, profile) for question in QUESTIONS for profile in profiles]
    for answer in answers:
        show(answer)
    return answers


def show(answer: Answer) -> None:
    print(f"\n{answer.question}  [{answer.profile}]")
    print(f"  {answer.text or f'no answer: {answer.abstain_reason}'}  (confidence {answer.confidence:.0%})")
    for citation in answer.citations:
        print(f"  {citation.title}, characters {citation.start} to {citation.end}: {citation.quote!r}")
    for result in answer.report:
        print(f"  {describe(result)}")


def describe(result: ObjectiveResult) -> str:
    value = "unknown" if result.value is None else f"{result.value:,.5g}"
    return f"{result.objective}: {value} of {result.target:,.5g} {result.unit}, {'met' if result.met else 'missed'}"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
