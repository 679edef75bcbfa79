"""The three retrievers: the public suite, and what each has of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore

from slarag.retrievers.conformance import RULES, ConformanceError, Rule, check_retriever
from slarag.retrievers.foreign import ForeignRetriever
from slarag.retrievers.in_memory import MemoryRetriever
from slarag.retrievers.index import IndexRetriever, build_index
from slarag.retrievers.protocol import PassageRetriever
from slarag.sla.errors import RunError
from slarag.sla.evidence import Passage

from .parts import FACTS, hash_embedder, write_facts

QUESTION = "Where do star dunes and cocoa beans grow?"


class KeywordRetriever(BaseRetriever):
    """A retriever of the sync kind only."""

    documents: list[Document]

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        words = set(query.lower().split())
        return sorted(self.documents, key=lambda document: -len(words & set(document.page_content.lower().split())))


def facts_as_passages() -> list[Passage]:
    return [Passage(passage_id=name, document_id=name, text=text) for name, text in FACTS.items()]


def foreign() -> ForeignRetriever:
    documents = [Document(page_content=text, metadata={"source": name}) for name, text in FACTS.items()]
    return ForeignRetriever(KeywordRetriever(documents=documents), embedder=hash_embedder())


@pytest.fixture
def makers(tmp_path: Path) -> dict[str, Callable[[], PassageRetriever]]:
    write_facts(tmp_path / "facts")
    build_index([tmp_path / "facts"], tmp_path / "index", embedder=hash_embedder())
    return {
        "index": lambda: IndexRetriever.open(tmp_path / "index", hash_embedder()),
        "memory": lambda: MemoryRetriever(facts_as_passages()),
        "memory with vectors": lambda: MemoryRetriever(facts_as_passages(), embedder=hash_embedder()),
        "foreign": foreign,
    }


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", ["index", "memory", "memory with vectors", "foreign"])
def test_retrievers_conform(makers: dict[str, Callable[[], PassageRetriever]], name: str, rule: Rule) -> None:
    asyncio.run(check_retriever(makers[name], question=QUESTION, rules=[rule]))


def test_the_suite_finds_what_is_wrong() -> None:
    class Unordered(MemoryRetriever):
        async def retrieve(self, *args: object, **kwargs: object) -> list[Passage]:
            return (await super().retrieve(*args, **kwargs))[::-1]  # type: ignore[arg-type]

    with pytest.raises(ConformanceError):
        asyncio.run(check_retriever(lambda: Unordered(facts_as_passages()), question=QUESTION))


def test_memory_gives_every_passage_when_all_are_wanted() -> None:
    found = asyncio.run(MemoryRetriever(facts_as_passages()).retrieve("zebra", method="hybrid", k=10))
    assert [passage.passage_id for passage in found] == sorted(FACTS)


def test_memory_ranks_by_words_when_fewer_are_wanted() -> None:
    found = asyncio.run(MemoryRetriever(facts_as_passages()).retrieve("queen of the bees", method="lexical", k=1))
    assert [passage.passage_id for passage in found] == ["bees.md"]
    assert found[0].score > 0


def test_memory_without_passages_finds_nothing() -> None:
    assert asyncio.run(MemoryRetriever([]).retrieve("anything", method="hybrid", k=3)) == []


def test_memory_knows_the_sources_it_is_told_and_whole_documents() -> None:
    piece = Passage(passage_id="p", document_id="d", text="amber", start=4)
    assert MemoryRetriever([piece]).source_text("d") is None
    assert MemoryRetriever([piece], sources={"d": "The amber"}).source_text("d") == "The amber"
    assert MemoryRetriever(facts_as_passages()).source_text("bees.md") == FACTS["bees.md"]


def test_methods_of_the_index_differ(makers: dict[str, Callable[[], PassageRetriever]]) -> None:
    retriever = makers["index"]()
    found = {
        method: asyncio.run(retriever.retrieve("zebra amber", method=method, k=4))  # type: ignore[arg-type]
        for method in ("lexical", "dense", "hybrid")
    }
    assert [passage.document_id for passage in found["lexical"]] == ["amber.txt"]
    assert len(found["dense"]) == len(found["hybrid"]) == 4
    assert found["dense"][0].score != found["hybrid"][0].score


def test_pieces_of_a_foreign_source_keep_their_place() -> None:
    document = Document(
        page_content="amber", metadata={"source": "a.txt", "start_index": 4, "title": "On amber"}, id="c7"
    )
    retriever = ForeignRetriever(KeywordRetriever(documents=[document]))
    (passage,) = asyncio.run(retriever.retrieve("amber", method="dense", k=3))
    expected = Passage(
        passage_id=passage.passage_id, document_id="a.txt", text="amber", title="On amber", start=4, score=1.0
    )
    assert passage == expected
    assert passage.passage_id.startswith("c7#4@")
    assert retriever.source_text("a.txt") is None


@pytest.mark.parametrize(
    "metadata",
    [
        [{"source": "a.pdf", "page": page, "start_index": 0} for page in range(3)],
        [{"id": "doc-7", "source": "a.txt", "start_index": start} for start in (0, 500, 1000)],
    ],
)
def test_pieces_of_a_foreign_source_stay_apart(metadata: list[dict[str, Any]]) -> None:
    documents = [Document(page_content=f"amber {at}", metadata=one) for at, one in enumerate(metadata)]
    retriever = ForeignRetriever(KeywordRetriever(documents=documents))
    found = asyncio.run(retriever.retrieve("amber", method="dense", k=9))
    assert [passage.text for passage in found] == ["amber 0", "amber 1", "amber 2"]
    assert len({(passage.document_id, passage.start) for passage in found}) == 3


def test_other_foreign_documents_are_their_own_source() -> None:
    same_name = [Document(page_content=text, metadata={"source": "a.txt"}) for text in ("one amber", "two amber")]
    retriever = ForeignRetriever(KeywordRetriever(documents=same_name))
    found = asyncio.run(retriever.retrieve("amber", method="lexical", k=3))
    assert [retriever.source_text(passage.document_id) for passage in found] == ["one amber", "two amber"]
    assert len({passage.document_id for passage in found}) == 2


def test_a_vector_store_is_asked_for_as_many_as_wanted() -> None:
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_texts([f"text {number}" for number in range(12)])
    retriever = ForeignRetriever(store.as_retriever())
    assert len(asyncio.run(retriever.retrieve("text", method="dense", k=9))) == 9


def test_a_failing_foreign_retriever_is_named() -> None:
    class Broken(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
            raise ConnectionError("refused\nby the server")

    with pytest.raises(RunError, match="the retriever Broken failed: ConnectionError: refused;"):
        asyncio.run(ForeignRetriever(Broken()).retrieve("amber", method="dense", k=3))


def test_a_document_that_comes_twice_keeps_its_first_place() -> None:
    class Fixed(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
            return [Document(page_content=text, metadata={"source": text}) for text in ("best", "next", "best", "last")]

    found = asyncio.run(ForeignRetriever(Fixed()).retrieve("any", method="dense", k=2))
    assert [passage.text for passage in found] == ["best", "next"]
