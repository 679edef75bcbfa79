"""The programs in `examples/` run and say what their first lines promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from slarag import Profile
from slarag.demo import pages_folder

from .programs import EXAMPLES, UNHURRIED, load

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
    strict = Profile.model_validate(
        {"name": "strict", "priority": "risk", "objectives": {"risk": {"max_wrong_answer_rate": 0.1}}}
    )
    answers = load("qa_app").main(folder, [UNHURRIED, strict])
    assert [answer.profile for answer in answers] == ["unhurried", "strict"] * 2
    assert "Kraken Mare" in answers[0].best_text
    assert [result.objective for result in answers[1].report] == ["risk"]
    said = capsys.readouterr().out
    assert all(answer.question in said for answer in answers)


@needs_reader
def test_langchain_runnable(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = load("langchain_runnable").main(folder, UNHURRIED)
    assert len(said) == 2
    assert capsys.readouterr().out.splitlines() == said


def test_own_backend(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = load("own_backend").main(folder, UNHURRIED)
    assert "April 1957" in answer.best_text
    said = capsys.readouterr().out
    assert "passed" in said
    assert "failed" not in said
    assert answer.question in said
    for citation in answer.citations:
        source = (folder / citation.document_id).read_text(encoding="utf-8")
        assert source[citation.start : citation.end] == citation.quote
