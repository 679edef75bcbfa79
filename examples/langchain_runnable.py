"""slarag as a LangChain Runnable, over a retriever that slarag knows nothing about.

Run it with `python examples/langchain_runnable.py [FOLDER]`. The retriever here counts shared words; a vector store of
yours takes its place with `store.as_retriever()`.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda

from slarag import Answer, Engine, ForeignRetriever, Profile
from slarag.demo import pages_folder


class SharedWords(BaseRetriever):
    """Ranks paragraphs by how many rare words they share with the question."""

    paragraphs: list[Document]
    k: int = 4

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        common = Counter(word for paragraph in self.paragraphs for word in words(paragraph.page_content))
        asked = words(query)

        def weight(paragraph: Document) -> float:
            return sum(1 / common[word] for word in asked & words(paragraph.page_content))

        return sorted(self.paragraphs, key=weight, reverse=True)[: self.k]


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def read(folder: Path) -> list[Document]:
    return [
        Document(page_content=paragraph, metadata={"source": file.name, "title": file.stem})
        for file in sorted(folder.glob("*.md"))
        for paragraph in file.read_text(encoding="utf-8").split("\n\n")
        if not paragraph.startswith(("#", "See also"))
    ]


def chain(engine: Engine) -> Runnable[str, str]:
    """The engine between two ordinary steps: tidy the question, then say the answer in a sentence."""
    return RunnableLambda[str, str](str.strip) | engine.as_runnable() | RunnableLambda[Answer, str](sentence)


def sentence(answer: Answer) -> str:
    if answer.abstained:
        return f"I would rather not say: {answer.abstain_reason}."
    return f"{answer.text} ({', '.join(sorted({citation.title for citation in answer.citations}))})"


def main(folder: Path | None = None, profile: str | Profile = "balanced") -> list[str]:
    retriever = SharedWords(paragraphs=read(folder or pages_folder()))
    with Engine.open(ForeignRetriever(retriever), profile=profile) as engine:
        said = chain(engine).batch([" Who discovered Triton? ", "Who designed Colossus?"])
    print("\n".join(said))
    return said


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
