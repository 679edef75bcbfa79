"""Killed runs, full disks and two writers."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from slarag.retrievers.embedder import Embedder
from slarag.retrievers.index import Index, add, build_index, lines, shards
from slarag.sla.errors import IndexFolderError, StorageError

from .parts import FACTS, HashEncoder, hash_embedder, write_facts

ROOT = Path(__file__).parents[2]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"doc_id": f"d{at}", "text": f"Row {at} of amber."}) + "\n" for at in range(40)))
    return path


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shards.ShardedVectors.__init__.__kwdefaults__, "shard", 8)


def build_elsewhere(how: str, limit: int, sources: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.retrievers.interrupted", how, str(limit), str(sources), str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def texts_of(folder: Path) -> list[str]:
    index = Index.open(folder)
    return [index.source_text(name) or "" for name in index.document_ids()]


def test_a_killed_first_run_leaves_no_index_and_is_resumed(rows: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    killed = build_elsewhere("kill", 30, rows, folder)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(IndexFolderError, match="no finished index"):
        Index.open(folder)

    encoder = HashEncoder()
    report = build_index([rows], folder, embedder=Embedder(encoder))
    assert (report.resumed, report.embedded, report.passages) == (24, 16, 40)
    assert sum(len(call) for call in encoder.calls) == 16
    build_index([rows], tmp_path / "other", embedder=hash_embedder())
    assert (Index.open(folder).vectors == Index.open(tmp_path / "other").vectors).all()
    assert not (folder / "building").exists()


def test_a_killed_run_leaves_the_old_index(rows: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    build_index([write_facts(tmp_path / "facts")], folder, embedder=hash_embedder())
    assert build_elsewhere("kill", 10, rows, folder).returncode == -signal.SIGKILL
    assert Index.open(folder).document_ids() == sorted(FACTS)
    assert build_index([rows], folder, embedder=hash_embedder()).resumed == 8
    assert len(Index.open(folder)) == 40


def test_a_resumed_run_over_other_texts_embeds_them(rows: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    assert build_elsewhere("kill", 30, rows, folder).returncode == -signal.SIGKILL
    rows.write_text(rows.read_text().replace("Row 10 of", "Row ten of"))
    report = build_index([rows], folder, embedder=hash_embedder())
    assert (report.resumed, report.embedded) == (8, 32)
    assert "Row ten of amber." in texts_of(folder)


def test_vectors_of_another_embedder_are_not_resumed(rows: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    assert build_elsewhere("kill", 30, rows, folder).returncode == -signal.SIGKILL
    report = build_index([rows], folder, embedder=hash_embedder(fingerprint="hash-2"))
    assert (report.resumed, report.embedded) == (0, 40)


@pytest.mark.parametrize("limit", [500, 6_000])
def test_a_full_disk_is_one_line_and_leaves_nothing_behind(rows: Path, tmp_path: Path, limit: int) -> None:
    folder = tmp_path / "index"
    full = build_elsewhere("full", limit, rows, folder)
    assert full.returncode == 1, full.stderr
    assert full.stdout.startswith("StorageError: cannot write the index")
    assert full.stdout.count("\n") == 1
    assert not full.stderr
    assert not folder.exists()


def test_a_full_disk_leaves_the_old_index(rows: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    build_index([write_facts(tmp_path / "facts")], folder, embedder=hash_embedder())
    before = sorted(path.name for path in folder.iterdir())
    assert build_elsewhere("full", 6_000, rows, folder).returncode == 1
    assert texts_of(folder) == [FACTS[name] for name in sorted(FACTS)]
    assert sorted(path.name for path in folder.iterdir()) == before


def test_no_space_left_while_adding(rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "index"
    build_index([write_facts(tmp_path / "facts")], folder, embedder=hash_embedder())

    def refuse(self: lines.LineWriter, row: dict[str, object]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(lines.LineWriter, "append", refuse)
        with pytest.raises(StorageError, match="No space left on device; free some space"):
            add(folder, [rows], embedder=hash_embedder())
    assert texts_of(folder) == [FACTS[name] for name in sorted(FACTS)]
    assert not (folder / "building").exists()


def test_a_second_writer_is_turned_away(rows: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    build_index([rows], folder, embedder=hash_embedder())
    with (folder / ".slarag-index.lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(IndexFolderError, match="is being written by process"):
            build_index([rows], folder, embedder=hash_embedder())
        assert len(Index.open(folder)) == 40
    assert add(folder, [rows], embedder=hash_embedder()).passages == 40


def test_the_lock_of_a_killed_writer_locks_nothing(rows: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    assert build_elsewhere("kill", 0, rows, folder).returncode == -signal.SIGKILL
    assert (folder / ".slarag-index.lock").exists()
    assert build_index([rows], folder, embedder=hash_embedder()).passages == 40


def test_an_interrupted_run_in_this_process_is_resumed(rows: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"

    def stop(done: int, total: int, phase: str) -> None:
        if phase == "embed" and done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index([rows], folder, embedder=hash_embedder(), progress=stop)
    assert build_index([rows], folder, embedder=hash_embedder()).resumed == 8
