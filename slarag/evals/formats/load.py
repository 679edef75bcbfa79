"""From a path to a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...sla.errors import DataError
from ..item import EvalItem
from .beir import read_beir
from .corpus import find_corpus, read_corpus
from .dataset import Dataset, file_digest, own_documents
from .detect import DataFormat, detect
from .hotpotqa import read_hotpotqa
from .nq_open import read_nq_open
from .rows import read_jsonl
from .squad import read_squad

_READERS: dict[DataFormat, Callable[[Path], list[EvalItem]]] = {
    "squad": read_squad,
    "hotpotqa": read_hotpotqa,
    "nq-open": read_nq_open,
    "jsonl": read_jsonl,
}


def load_dataset(path: Path, *, data_format: DataFormat = "auto", corpus: Path | None = None) -> Dataset:
    """Read a question file or a BEIR folder.

    corpus: a JSON Lines file of documents for questions that bring no passages; when it is not given, a file that
    stands beside the questions under a matching name (`x_questions.jsonl`, `x_corpus.jsonl.gz`) is taken.
    Raises `DataError`, which names the file, the line, the field and the remedy.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist", remedy="check the path of --data")
    known = detect(path) if data_format == "auto" else data_format
    if known == "beir":
        return _checked(read_beir(path))
    items = _READERS[known](path)
    beside = corpus or (None if any(item.passages for item in items) else find_corpus(path))
    if beside is not None:
        return _checked(_with_corpus(path, known, items, beside))
    distinct = tuple(items)
    return _checked(
        Dataset(
            path=path,
            format=known,
            items=distinct,
            documents=lambda: own_documents(distinct),
            digest=file_digest(path),
        )
    )


def _with_corpus(path: Path, known: DataFormat, items: list[EvalItem], beside: Path) -> Dataset:
    corpus = read_corpus(beside)
    return Dataset(
        path=path,
        format=known,
        items=tuple(corpus.give_passages(items)),
        documents=corpus.documents,
        digest=file_digest(path),
        corpus_path=beside,
    )


def _checked(dataset: Dataset) -> Dataset:
    if not dataset.items:
        raise DataError(f"{dataset.path} holds no question", remedy="give a file with at least one question")
    seen: set[str] = set()
    for item in dataset.items:
        if item.item_id in seen:
            raise DataError(
                f"{dataset.path}: question id {item.item_id!r} appears twice", remedy="give every question its own id"
            )
        seen.add(item.item_id)
    return dataset
