"""BEIR's folder: corpus.jsonl, queries.jsonl, qrels/*.tsv (Thakur et al., 2021)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ...sla.errors import DataError
from ...sla.evidence import Passage
from ..item import EvalItem, GoldPassage
from .dataset import Dataset, document, file_digest
from .fields import read_lines, read_rows

_SPLITS = ("test", "dev", "validation", "train")


def read_beir(folder: Path) -> Dataset:
    """The judged queries of the first of test, dev and train that is there, over the whole corpus.

    BEIR has no answers, so these items are scored on retrieval only.
    """
    relevant = _read_qrels(_qrels_file(folder))
    items = [
        EvalItem(
            item_id=row.text("_id"),
            question=row.text("text"),
            gold=tuple(GoldPassage(document_id=name) for name in relevant[row.text("_id")]),
        )
        for row in read_rows(_file(folder, "queries.jsonl"))
        if row.text("_id") in relevant
    ]
    corpus = _file(folder, "corpus.jsonl")
    return Dataset(
        path=folder,
        format="beir",
        items=tuple(items),
        documents=lambda: _documents(corpus),
        digest=file_digest(folder),
        corpus_path=corpus,
    )


def _documents(corpus: Path) -> Iterator[Passage]:
    for row in read_rows(corpus):
        yield document(row.text("title", default=""), row.text("text"), document_id=row.text("_id"))


def _file(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise DataError(f"{folder} has no {name}", remedy="give a folder in BEIR's layout")


def _qrels_file(folder: Path) -> Path:
    found = {path.stem: path for path in sorted((folder / "qrels").glob("*.tsv"))}
    for split in (*_SPLITS, *found):
        if split in found:
            return found[split]
    raise DataError(f"{folder} has no qrels/*.tsv", remedy="add the judgements, such as qrels/test.tsv")


def _read_qrels(path: Path) -> dict[str, list[str]]:
    relevant: dict[str, list[str]] = defaultdict(list)
    for number, line in read_lines(path):
        cells = line.rstrip("\r\n").split("\t")
        if number == 1 and cells[-1] == "score":
            continue
        if len(cells) != 3 or not cells[2].lstrip("-").isdigit():
            raise DataError(
                f"{path}, line {number}: {line.strip()!r} is not query-id, corpus-id, score",
                remedy="separate three columns by tabs",
            )
        if int(cells[2]) > 0:
            relevant[cells[0]].append(cells[1])
    return relevant
