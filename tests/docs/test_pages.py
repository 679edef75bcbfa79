"""The pages say what is so: generated ones are current, every error has its section, every block of code runs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from slarag.cli import main
from slarag.cli.reference import reference
from slarag.demo import load_questions, pages_folder

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def test_the_command_line_page_is_current() -> None:
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == reference(), "run `make docs`"


def test_every_error_code_has_its_section() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "slarag").rglob("*.py"))
    codes = set(re.findall(r'^    code = "(\w+)"$', sources, flags=re.MULTILINE))
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs" / "errors.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert codes - set(sections) == set(), "codes without a section in docs/errors.md"
    assert set(sections) - codes == set(), "sections of codes that no error has"


def test_what_a_newcomer_indexes_first_is_there() -> None:
    first = re.findall(r"^slarag index (\S+)", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert first
    assert [path for path in first if not any((ROOT / path).glob("*.md"))] == []


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {link}"
        for page in [*PAGES, *ROOT.glob("*.md")]
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert not broken


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with what the pages talk about: documents, one more, and questions with their passages."""
    pages = pages_folder()
    named = {
        "handbook": ("titan.md", "mars.md"),
        "slarag/demo/pages": ("titan.md", "mars.md"),
        "more": ("pluto-and-new-horizons.md",),
    }
    for name, files in named.items():
        (tmp_path / name).mkdir(parents=True)
        for file in files:
            shutil.copy(pages / file, tmp_path / name / ("more.md" if name == "more" else file))
    rows = [
        {"question": q.question, "answers": list(q.answers), "context": (pages / q.page[0]).read_text(encoding="utf-8")}
        for q in load_questions()
        if q.answers and q.page
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:6]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_runs(page: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for language, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(code, str(page), "exec"), names)
        elif language == "sh":
            for line in code.splitlines():
                _run(line)
    capsys.readouterr()


def _run(line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[:1] == ["slarag"]:
        assert main(words[1:]) == 0, line
