from __future__ import annotations

from pathlib import Path

import pytest

from slarag.evals.indexing import PASSAGE_CHARACTERS, build
from slarag.evals.settings import Progress
from slarag.retrievers.index import Index
from slarag.sla.errors import DataError
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


def test_an_index_that_was_not_built_to_its_end_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(iter([document("a", 200)]), tmp_path, lambda _: None)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("slarag.retrievers.index.build_index", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(iter([document("b", 200)]), tmp_path, lambda _: None)
    index = Index.open(build(iter([document("b", 200)]), tmp_path, lambda _: None))
    assert index.document_ids() == ["b"]
    index.close()


def test_two_texts_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two texts under the id 'a'"):
        build(iter([document("a", 200), document("a", 300)]), tmp_path, lambda _: None)
