"""Building and searching an index: throughput beside the bare embedder, memory, time of a search, approximate recall.

The bare embedder is sentence-transformers' `encode`, which sorts the texts by length, over the first `--bare` of the
same texts (they are in random order) in a process of its own; both times are without imports and loading the model. The
ratio of the processor times says the same on a machine that does other things too. Memory is the peak of the building
process over what it takes with everything imported. Searches run on one core, without the question's embedding.

    python bench/index.py [--data FOLDER] [--limit N] [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import logging
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from _common import Figure, document, median, share, show, spread

from slarag.retrievers.dense import APPROXIMATE_ABOVE, DenseIndex, ExactIndex, HnswIndex
from slarag.retrievers.embedder import Embedder
from slarag.retrievers.encoder import MiniLmEncoder
from slarag.retrievers.index import Index, build_index
from slarag.retrievers.loaders import Corpus
from slarag.retrievers.ranking import Scores
from slarag.retrievers.searchable import searchable
from slarag.retrievers.splitter import Splitter
from slarag.sla.plan import RetrievalMethod

QUESTIONS = 300
PASSAGES = 8
NEIGHBOURS = 10
BATCH = 64
HEAVY = ("torch", "sentence_transformers", "faiss", "bm25s", "Stemmer", "langchain_core.documents")


@dataclass(frozen=True)
class Embedded:
    """One side's work. seconds, cpu_seconds: of all of it. memory_gb: a build's peak over the imports."""

    passages: int
    seconds: float
    cpu_seconds: float
    memory_gb: float = 0.0


def main() -> None:
    options = _options()
    logging.disable(logging.WARNING)  # files without passages are no news here
    with tempfile.TemporaryDirectory() as folder:
        corpus, index = Path(folder) / "corpus.jsonl", Path(folder) / "index"
        passages = _write_corpus(options, corpus)
        bare, built = _rounds(options, corpus, index)
        figures = {**_building(bare, built), **_apart(_search, index, _questions(options))}
    workload = {
        "data": options.data.name if options.data else "synthetic",
        "passages": passages,
        "rounds": options.rounds,
        "bare": options.bare,
        "bare_batch": BATCH,
        "approximate_above": APPROXIMATE_ABOVE,
        "seed": options.seed,
    }
    show(document(workload, figures), as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of JSONL files; synthetic texts without it")
    parser.add_argument("--limit", type=int, default=30_000, help="passages, drawn at random")
    parser.add_argument("--bare", type=int, default=3_000, help="passages that the bare embedder embeds")
    parser.add_argument("--rounds", type=int, default=1, help="each side runs once a round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args()


def _rounds(options: argparse.Namespace, corpus: Path, index: Path) -> tuple[list[Embedded], list[Embedded]]:
    bare: list[Embedded] = []
    built: list[Embedded] = []
    for number in range(options.rounds):
        target = index if number == 0 else index.with_name(f"index{number}")
        bare.append(_apart(_bare, corpus, options.bare))
        built.append(_apart(_build, corpus, target))
    return bare, built


def _building(bare: list[Embedded], built: list[Embedded]) -> dict[str, Figure]:
    pairs = list(zip(bare, built, strict=True))
    return {
        "bare_embedder_passages_per_second": spread([one.passages / one.seconds for one in bare], "passages/s"),
        "build_passages_per_second": spread([one.passages / one.seconds for one in built], "passages/s"),
        "build_throughput_ratio": spread(
            [(ours.passages / ours.seconds) / (other.passages / other.seconds) for other, ours in pairs], "ratio"
        ),
        "build_throughput_ratio_per_cpu_second": spread(
            [(ours.passages / ours.cpu_seconds) / (other.passages / other.cpu_seconds) for other, ours in pairs],
            "ratio",
        ),
        "build_peak_memory_over_imports": spread([one.memory_gb for one in built], "GB"),
    }


def _apart(function: Callable[..., Any], *arguments: object) -> Any:
    """Run `function` in a process of its own, which shares no memory, cache or setting with the others."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _bare(corpus: Path, passages: int) -> Embedded:
    texts = [searchable(row["title"], row["text"]) for row in islice(_rows(corpus), passages)]
    library: Any = importlib.import_module("sentence_transformers")
    importlib.import_module("transformers.utils.logging").disable_progress_bar()
    model = library.SentenceTransformer(str(MiniLmEncoder().folder), device="cpu", local_files_only=True)
    model.encode(texts[:BATCH], batch_size=BATCH, show_progress_bar=False)
    began, cpu_began = time.perf_counter(), time.process_time()
    model.encode(texts, batch_size=BATCH, show_progress_bar=False)
    return Embedded(len(texts), time.perf_counter() - began, time.process_time() - cpu_began)


def _build(corpus: Path, folder: Path) -> Embedded:
    for name in HEAVY:
        importlib.import_module(name)
    imported = _resident_gb()
    embedder = Embedder()
    embedder.encode([searchable(row["title"], row["text"]) for row in islice(_rows(corpus), BATCH)])
    passages = sum(1 for _ in _rows(corpus))
    began, cpu_began = time.perf_counter(), time.process_time()
    build_index([corpus], folder, embedder=embedder)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9 - imported
    return Embedded(passages, seconds, cpu_seconds, memory_gb)


def _search(folder: Path, questions: list[str]) -> dict[str, Figure]:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    vectors = Embedder().encode(questions)
    index = Index.open(folder)
    found: dict[str, Figure] = {}
    methods: tuple[RetrievalMethod, ...] = ("lexical", "dense", "hybrid")
    for method in methods:
        times = [
            _milliseconds(partial(index.search, question, method=method, k=PASSAGES, vector=vector))
            for question, vector in zip(questions, vectors, strict=True)
        ]
        found[f"{method}_search_p50"] = median(times, "ms")
    return {**found, **_approximation(index, vectors)}


def _approximation(index: Index, vectors: Scores) -> dict[str, Figure]:
    """Exact against approximate search over the same vectors, whichever of them the index itself uses."""
    held = np.ascontiguousarray(index.vectors)
    began = time.perf_counter()
    graph = HnswIndex.build(held)
    seconds = time.perf_counter() - began
    exact = _neighbours(ExactIndex(held), vectors, index)
    near = _neighbours(graph, vectors, index)
    hits = sum(len(a & b) for a, b in zip(exact[0], near[0], strict=True))
    return {
        "approximate_recall": share(hits, sum(len(rows) for rows in exact[0])),
        "exact_dense_p50": median(exact[1], "ms"),
        "approximate_dense_p50": median(near[1], "ms"),
        "approximate_build": spread([seconds], "s"),
    }


def _neighbours(dense: DenseIndex, vectors: Scores, index: Index) -> tuple[list[set[int]], list[float]]:
    rows: list[set[int]] = []
    times = [
        _milliseconds(
            lambda vector=vector: rows.append(set(dense.search(vector, NEIGHBOURS, index.store.ranks)[0].tolist()))
        )
        for vector in vectors
    ]
    return rows, times


def _milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e3


def _resident_gb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def _write_corpus(options: argparse.Namespace, path: Path) -> int:
    """Write distinct passages as one document each; their number."""
    splitter = Splitter()
    distinct: dict[str, str] = {}
    for title, text in _documents(options):
        for start, end in splitter.spans(text):
            distinct.setdefault(text[start:end], title)
    drawn = random.Random(options.seed).sample(sorted(distinct), min(options.limit, len(distinct)))
    with path.open("w", encoding="utf-8") as file:
        for number, text in enumerate(drawn):
            file.write(json.dumps({"doc_id": f"p{number}", "title": distinct[text], "text": text}) + "\n")
    return len(drawn)


def _documents(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    if options.data is not None:
        for document_ in Corpus([options.data]).documents():
            yield document_.metadata["title"], document_.page_content
        return
    draw = random.Random(options.seed)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(5_000)]
    for number in range(options.limit):
        yield f"Subject {number}", " ".join(draw.choices(words, k=draw.randint(30, 120)))


def _questions(options: argparse.Namespace) -> list[str]:
    """Questions of the data, some of every file; of synthetic texts, a few of their words."""
    if options.data is None:
        return [" ".join(text.split()[3:11]) for _, text in islice(_documents(options), QUESTIONS)]
    files = sorted(path for path in options.data.rglob("*") if path.name.endswith((".jsonl", ".jsonl.gz")))
    found = [
        row["question"]
        for path in files
        for row in islice(_rows(path), QUESTIONS)
        if isinstance(row.get("question"), str)
    ]
    draw = random.Random(options.seed)
    return draw.sample(found, min(QUESTIONS, len(found))) or ["What is it?"]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.name.endswith(".gz") else path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


if __name__ == "__main__":
    main()
