from __future__ import annotations

from pathlib import Path

from slarag.evals.indexing import PASSAGE_CHARACTERS, build
from slarag.evals.settings import Progress
from slarag.retrievers.index import Index
from slarag.sla.evidence import Passage

SENTENCE = "The river passes the old town and turns east. "


def document(name: str, characters: int) -> Passage:
    text = (name + " " + SENTENCE * 200)[:characters].strip()
    return Passage(passage_id=name, document_id=name, text=text, title=f"River {name}")


def test_paragraphs_stay_whole_and_an_index_that_fits_is_kept(tmp_path: Path) -> None:
    documents = [document("a", 200), document("b", PASSAGE_CHARACTERS - 5), document("c", 3 * PASSAGE_CHARACTERS)]
    seen: list[Progress] = []
    folder = build(iter(documents), tmp_path, seen.append)
    index = Index.open(folder)
    passages = [index.store.passage(row) for row in range(len(index))]
    index.close()
    whole = {passage.document_id: passage.text for passage in passages}
    assert whole["a"] == documents[0].text
    assert whole["b"] == documents[1].text
    assert sum(passage.document_id == "c" for passage in passages) >= 3
    assert seen
    assert all(progress.stage.startswith("index: ") for progress in seen)

    again: list[Progress] = []
    assert build(iter(documents), tmp_path, again.append) == folder
    assert again == []

    build(iter(documents[:2]), tmp_path, again.append)
    index = Index.open(folder)
    assert index.document_ids() == ["a", "b"]
    index.close()
