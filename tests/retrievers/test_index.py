"""The index folder: built, changed, searched, and refused when it is not sound."""

from __future__ import annotations

import json
import pickle
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document

from slarag.retrievers.embedder import Embedder
from slarag.retrievers.index import Index, IndexRetriever, add, build_index, remove
from slarag.retrievers.index import run as build_run
from slarag.retrievers.loaders.corpus import Corpus, OnFile
from slarag.retrievers.splitter import Splitter
from slarag.sla.errors import CorpusError, IndexFolderError
from slarag.sla.evidence import Span, cite

from .parts import FACTS, HashEncoder, hash_embedder, pdf_bytes, write_facts


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    return write_facts(tmp_path / "facts")


@pytest.fixture
def folder(facts: Path, tmp_path: Path) -> Path:
    return build_index([facts], tmp_path / "index", embedder=hash_embedder()).folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def data(folder: Path) -> Path:
    (found,) = folder.glob("data-*")
    return found


def found(folder: Path, question: str, k: int = 3) -> list[tuple[str, str, float]]:
    index = Index.open(folder)
    vector = HashEncoder().encode([question])[0]
    passages = index.search(question, method="hybrid", k=k, vector=vector)
    return [(passage.passage_id, passage.text, passage.score) for passage in passages]


def test_what_is_indexed_is_found_and_counted(facts: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    report = build_index(
        [facts], tmp_path / "index", embedder=hash_embedder(), progress=lambda *step: told.append(step)
    )
    assert (report.documents, report.passages, report.embedded, report.skipped) == (4, 4, 4, ())
    assert found(tmp_path / "index", "queen of a honey bee colony")[0][0] == "bees.md#0000"
    assert Index.open(tmp_path / "index").document_ids() == sorted(FACTS)
    assert [step for step in told if step[0] == step[1]] == [
        (4, 4, "read"),
        (4, 4, "embed"),
        (4, 4, "lexical"),
        (4, 4, "write"),
    ]


def test_every_passage_is_a_slice_of_its_source_also_of_pdf_and_html(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    lines = [f"Line {number} of the paper tells of case {number * 7}." for number in range(40)]
    (sources / "paper.pdf").write_bytes(pdf_bytes([lines[:20], lines[20:]]))
    rows = "".join(f"<p>Row {number} with <i>w\u00f6rds</i> &amp; more \u2014 \U0001f642.</p>" for number in range(60))
    (sources / "page.html").write_text(f"<title>Page</title><body>{rows}</body>", encoding="utf-8")
    build_index([sources], tmp_path / "index", embedder=hash_embedder(), splitter=Splitter(size=200, overlap=40))
    index = Index.open(tmp_path / "index")
    passages = index.search("line row case", method="lexical", k=100)
    assert len(passages) == len(index) > 20
    assert {passage.document_id for passage in passages} == {"paper.pdf", "page.html"}
    for passage in passages:
        citation = cite(passage, Span(passage_id=passage.passage_id, start=3, end=len(passage.text) - 1))
        source = index.source_text(citation.document_id)
        assert source is not None
        assert source[citation.start : citation.end] == citation.quote


def test_titles_are_searched_too(tmp_path: Path) -> None:
    rows = [
        {"doc_id": "a", "title": "Amber", "text": "It is resin."},
        {"doc_id": "b", "title": "Bees", "text": "It flies."},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    build_index([tmp_path / "rows.jsonl"], tmp_path / "index", embedder=hash_embedder())
    (passage,) = Index.open(tmp_path / "index").search("bees", method="lexical", k=2)
    assert (passage.document_id, passage.title, passage.text, passage.start) == ("b", "Bees", "It flies.", 0)


def test_adding_embeds_only_what_is_new_and_equals_building_at_once(facts: Path, tmp_path: Path) -> None:
    extra, together = tmp_path / "extra", tmp_path / "together"
    extra.mkdir()
    (extra / "geysers.txt").write_text("A geyser is a hot spring that erupts.")
    (extra / "amber.txt").write_text("Amber floats in salt water.")
    build_index([facts], tmp_path / "index", embedder=hash_embedder())
    report = add(tmp_path / "index", [extra], embedder=hash_embedder())
    assert (report.documents, report.embedded, report.reused) == (5, 2, 3)

    shutil.copytree(facts, together)
    shutil.copytree(extra, together, dirs_exist_ok=True)
    build_index([together], tmp_path / "at once", embedder=hash_embedder())
    for question in ("amber", "hot springs that move with the wind", "queen"):
        assert found(tmp_path / "index", question) == found(tmp_path / "at once", question)


def test_building_again_embeds_only_what_changed(facts: Path, folder: Path) -> None:
    (facts / "amber.txt").write_text("Amber floats in salt water.")
    (facts / "cocoa.txt").unlink()
    report = build_index([facts], folder, embedder=hash_embedder())
    assert (report.documents, report.embedded, report.reused) == (3, 1, 2)
    assert Index.open(folder).source_text("cocoa.txt") is None


def test_other_passage_sizes_embed_everything_again(facts: Path, folder: Path) -> None:
    report = build_index([facts], folder, embedder=hash_embedder(), splitter=Splitter(size=50, overlap=0))
    assert report.reused == 0
    added = add(folder, [facts], embedder=hash_embedder())
    assert (added.embedded, added.passages) == (0, report.passages)


def test_removing_takes_documents_out(folder: Path) -> None:
    report = remove(folder, ["bees.md", "amber.txt"])
    assert (report.documents, report.embedded) == (2, 0)
    assert Index.open(folder).document_ids() == ["cocoa.txt", "deep/dunes.txt"]
    assert "amber" not in " ".join(text.lower() for _, text, _ in found(folder, "amber", k=10))


def test_removing_what_is_not_there_or_everything_is_refused(folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(CorpusError, match=r"'nothing\.txt'"):
        remove(folder, ["nothing.txt", "bees.md"])
    with pytest.raises(CorpusError, match="empty"):
        remove(folder, list(FACTS))
    assert contents(folder) == before


def test_a_repeated_id_with_another_text_is_skipped(tmp_path: Path) -> None:
    rows = [{"doc_id": "a", "text": text} for text in ("One.", "One.", "Two.")]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = build_index([tmp_path / "rows.jsonl"], tmp_path / "index", embedder=hash_embedder())
    assert (report.documents, len(report.skipped)) == (1, 1)
    assert "'a'" in report.skipped[0].reason


def test_an_index_open_while_another_takes_its_place_keeps_answering(facts: Path, folder: Path) -> None:
    index = Index.open(folder)
    (facts / "amber.txt").write_text("Nothing of that name.")
    build_index([facts], folder, embedder=hash_embedder())
    assert index.search("Baltic", method="lexical", k=1)[0].document_id == "amber.txt"
    assert index.source_text("amber.txt") == FACTS["amber.txt"]
    assert Index.open(folder).search("Baltic", method="lexical", k=1) == []


def test_an_index_inside_its_sources_is_no_source(facts: Path) -> None:
    build_index([facts], facts / "index", embedder=hash_embedder())
    assert build_index([facts], facts / "index", embedder=hash_embedder()).documents == 4


def test_a_large_index_turns_approximate(facts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_run, "APPROXIMATE_ABOVE", 3)
    build_index([facts], tmp_path / "graph", embedder=hash_embedder())
    assert Index.open(tmp_path / "graph").manifest.dense == "hnsw"
    monkeypatch.undo()
    build_index([facts], tmp_path / "flat", embedder=hash_embedder())
    assert Index.open(tmp_path / "flat").manifest.dense == "exact"
    assert found(tmp_path / "graph", "star dunes") == found(tmp_path / "flat", "star dunes")


def test_building_holds_few_documents_and_texts_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tmp_path / "rows.jsonl"
    lines = (json.dumps({"doc_id": str(n), "text": f"Stone {n} lies in river {n % 7}."}) for n in range(600))
    rows.write_text("\n".join(lines), encoding="utf-8")
    given: list[weakref.ref[Document]] = []
    held: list[int] = []
    documents = Corpus.documents

    def watched(self: Corpus, on_file: OnFile | None = None) -> Iterator[Document]:
        for document in documents(self, on_file):
            held.append(sum(reference() is not None for reference in given))
            given.append(weakref.ref(document))
            yield document

    monkeypatch.setattr(Corpus, "documents", watched)
    encoder = HashEncoder()
    report = build_index([rows], tmp_path / "index", embedder=Embedder(encoder))
    assert report.passages == len(given) == sum(map(len, encoder.calls)) == 600
    assert max(held) <= 2
    assert max(map(len, encoder.calls)) <= 256


def test_nothing_is_unpickled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a pickle was read")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    assert found(folder, "star dunes")[0][0] == "deep/dunes.txt#0000"
    for path in folder.rglob("*.npy"):
        assert np.load(path, allow_pickle=False).dtype != object


def refusal(folder: Path, embedder: Embedder | None = None) -> str:
    with pytest.raises(IndexFolderError) as caught:
        IndexRetriever.open(folder, embedder or hash_embedder())
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.remedy
    return message


def test_every_truncated_or_changed_or_missing_file_is_noticed(folder: Path) -> None:
    for path in sorted(data(folder).rglob("*")):
        if not path.is_file():
            continue
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert path.name in refusal(folder)
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        assert path.name in refusal(folder)
        path.unlink()
        assert path.name in refusal(folder)
        path.write_bytes(whole)
    Index.open(folder)


def test_a_missing_or_damaged_manifest_is_refused(folder: Path, tmp_path: Path) -> None:
    manifest = folder / "manifest.json"
    whole = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(whole)[:100])
    assert "manifest.json" in refusal(folder)
    manifest.write_text(json.dumps({**whole, "passages": "many"}))
    assert "'passages'" in refusal(folder)
    manifest.write_text(json.dumps({**whole, "format": 99}))
    assert "99" in refusal(folder)
    for damage in ({"data": "../elsewhere"}, {"data": "/etc"}, {"passages": -5}):
        manifest.write_text(json.dumps({**whole, **damage}))
        assert f"damaged at {next(iter(damage))!r}" in refusal(folder)
    for content in ("[]", "[" * 100_000):
        manifest.write_text(content)
        refusal(folder)
    manifest.unlink()
    assert "no finished index" in refusal(folder)
    assert "does not exist" in refusal(tmp_path / "nowhere")
    assert "not a folder" in refusal(folder / ".slarag-index.lock")


def test_an_index_of_another_embedder_is_refused(facts: Path, folder: Path) -> None:
    other = hash_embedder(fingerprint="hash-2")
    assert "hash encoder" in refusal(folder, other)
    with pytest.raises(IndexFolderError, match="hash encoder"):
        add(folder, [facts], embedder=other)
    report = build_index([facts], folder, embedder=other)
    assert (report.embedded, report.reused) == (4, 0)


def test_folders_of_other_things_are_not_written_to(facts: Path, tmp_path: Path) -> None:
    with pytest.raises(IndexFolderError, match="not an index"):
        build_index([tmp_path / "facts"], facts, embedder=hash_embedder())
    with pytest.raises(IndexFolderError, match="is a file"):
        build_index([facts], facts / "amber.txt", embedder=hash_embedder())
    with pytest.raises(IndexFolderError, match="does not exist"):
        add(tmp_path / "nowhere", [facts], embedder=hash_embedder())


def test_a_corpus_that_cannot_be_read_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(b"\0" * 100)
    with pytest.raises(CorpusError, match="binary file"):
        build_index([tmp_path / "binary.txt"], tmp_path / "index", embedder=hash_embedder())
    assert not (tmp_path / "index").exists()


def test_a_corpus_that_cannot_be_read_leaves_the_old_index(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(b"\0" * 100)
    before = contents(folder)
    with pytest.raises(CorpusError):
        build_index([tmp_path / "binary.txt"], folder, embedder=hash_embedder())
    with pytest.raises(CorpusError):
        add(folder, [tmp_path / "binary.txt"], embedder=hash_embedder())
    after = contents(folder)
    assert after.pop(".slarag-index.lock") == before.pop(".slarag-index.lock")
    assert after == before


def test_one_path_and_one_document_need_no_list(tmp_path: Path) -> None:
    write_facts(tmp_path / "docs")
    report = build_index(str(tmp_path / "docs"), tmp_path / "index", embedder=hash_embedder())
    assert report.documents == 4
    assert remove(tmp_path / "index", "amber.txt").documents == 3
