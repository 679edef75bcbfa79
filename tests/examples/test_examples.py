"""The programs in `examples/` run and say what their first lines promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from slarag.demo import pages_folder

from .programs import EXAMPLES, load

WEIGHTS = EXAMPLES.parent / "slarag/backends/reader/weights/reader.safetensors"
needs_reader = pytest.mark.skipif(not WEIGHTS.is_file(), reason="the reader's weights are not in this checkout")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A few pages are enough, and quick."""
    for name in ("titan.md", "jupiter.md", "fortran.md", "colossus.md", "neptune.md"):
        (tmp_path / name).write_text((pages_folder() / name).read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_programs_are_short_and_begin_with_what_they_do(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) < 80
    assert (load(path.stem).__doc__ or "").count("python examples/") == 1


@needs_reader
def test_qa_app(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = load("qa_app").main(folder)
    assert [answer.profile for answer in answers] == ["fast", "safe"] * 2
    assert "Kraken Mare" in answers[1].best_text
    assert all(answer.report for answer in answers)
    said = capsys.readouterr().out
    assert all(answer.question in said for answer in answers)


@needs_reader
def test_langchain_runnable(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = load("langchain_runnable").main(folder)
    assert len(said) == 2
    assert capsys.readouterr().out.splitlines() == said


def test_own_backend(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = load("own_backend").main(folder)
    assert "April 1957" in answer.best_text
    said = capsys.readouterr().out
    assert "passed" in said
    assert "failed" not in said
    assert answer.question in said
    for citation in answer.citations:
        assert (folder / "fortran.md").read_text(encoding="utf-8")[citation.start : citation.end] == citation.quote
