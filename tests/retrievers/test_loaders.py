from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from slarag.retrievers.loaders import Corpus
from slarag.sla.errors import CorpusError

from .parts import pdf_bytes, write_facts


def read(*paths: Path, strict: bool = False) -> list[Any]:
    return list(Corpus(paths, strict=strict).documents())


def read_one(path: Path, content: str | bytes) -> Any:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (document,) = read(path)
    return document


def write_rows(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_folder_is_read_in_the_order_of_paths(tmp_path: Path) -> None:
    write_facts(tmp_path)
    (tmp_path / ".hidden.txt").write_text("hidden")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    ids = [document.metadata["document_id"] for document in read(tmp_path)]
    assert ids == ["amber.txt", "bees.md", "cocoa.txt", "deep/dunes.txt"]


def test_several_folders_keep_their_names_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.txt").write_text(f"in {name}")
    assert [document.id for document in read(tmp_path / "a", tmp_path / "b")] == ["a/same.txt", "b/same.txt"]


def test_paths_of_one_name_are_told_apart_by_what_lies_above_them(tmp_path: Path) -> None:
    for name in ("x/docs", "y/docs"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "readme.md").write_text(f"in {name}")
    folders = read(tmp_path / "x/docs", tmp_path / "y/docs", tmp_path / "x/docs")
    assert [document.id for document in folders] == ["x/docs/readme.md", "y/docs/readme.md"]
    files = read(tmp_path / "x/docs/readme.md", tmp_path / "y/docs/readme.md")
    assert [document.id for document in files] == ["x/docs/readme.md", "y/docs/readme.md"]


def test_a_few_bad_bytes_do_not_make_another_encoding_of_a_text(tmp_path: Path) -> None:
    text = "Łódź i Kraków, a także Gdańsk. "
    damaged = (text * 3).encode() + "ź".encode()[:1]
    assert read_one(tmp_path / "a.txt", damaged).page_content == text * 3 + "\ufffd"


def test_text_is_decoded(tmp_path: Path) -> None:
    assert read_one(tmp_path / "a.txt", "\ufeffcafé\r\nbar").page_content == "café\nbar"
    assert read_one(tmp_path / "b.txt", "café".encode("utf-16")).page_content == "café"
    assert read_one(tmp_path / "c.txt", "café".encode("cp1252")).page_content == "café"


@pytest.mark.parametrize(
    ("text", "title"),
    [("# The *title* #\n\nBody", "The *title*"), ("Title\n=====\n\nBody", "Title"), ("Body only", "page")],
)
def test_markdown_is_kept_and_named_by_its_heading(tmp_path: Path, text: str, title: str) -> None:
    document = read_one(tmp_path / "page.md", text)
    assert (document.page_content, document.metadata["title"]) == (text, title)


def test_text_between_two_rules_is_no_front_matter(tmp_path: Path) -> None:
    text = "---\n\nThe bridge was opened in 1917.\n\nDay 1: we left.\n\n---\n\nMore."
    assert "opened in 1917" in read_one(tmp_path / "a.md", text).page_content


def test_front_matter_of_markdown_is_left_out(tmp_path: Path) -> None:
    document = read_one(tmp_path / "page.md", "---\nlayout: post\n---\n# Title\n\nBody")
    assert document.page_content == "# Title\n\nBody"


def test_html_becomes_what_is_seen(tmp_path: Path) -> None:
    page = """<html><head><title>The  page</title><style>p {}</style></head><body><nav>Menu</nav>
    <h1>Head</h1><p>One <b>bold</b>
    word.</p><ul><li>first</li><li>second</li></ul><script>var x;</script>
    <table><tr><td>a</td><td>b</td></tr></table><pre>x
  y</pre></body></html>"""
    document = read_one(tmp_path / "page.html", page)
    assert document.metadata["title"] == "The page"
    lines = [line for line in document.page_content.splitlines() if line]
    assert lines == ["Head", "One bold word.", "first", "second", "a b", "x", "y"]


def test_pdf_pages_become_text(tmp_path: Path) -> None:
    raw = pdf_bytes([["A first line", "with a hyphen-", "ated word."], ["Second page."]], title="On lines")
    document = read_one(tmp_path / "paper.pdf", raw)
    assert document.page_content == "A first line\nwith a hyphenated word.\n\nSecond page."
    assert document.metadata["title"] == "On lines"


ROWS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"doc_id": "d1", "title": "T", "text": "Body"}, "d1", "T", "Body"),
    ({"_id": "d1", "title": "T", "text": "Body"}, "d1", "T", "Body"),
    ({"text": "Body"}, "rows.jsonl#1", "", "Body"),
    ({"doc_id": "d1", "paragraphs": [{"title": "P", "text": "One"}, "Two"]}, "d1", "", "P\nOne\n\nTwo"),
    ({"doc_id": "d1", "pages": ["One", "Two"]}, "d1", "", "One\n\nTwo"),
    (
        {"doc_id": "d1", "turns": [{"speaker": "A", "text": "Hi"}, {"speaker": "B", "text": "Ho"}]},
        "d1",
        "",
        "A: Hi\nB: Ho",
    ),
    ({"doc_id": "d1", "title": "T", "facts": ["One.", "Two."]}, "d1", "T", "One.\nTwo."),
]


@pytest.mark.parametrize(("row", "document_id", "title", "text"), ROWS)
def test_rows_of_documents(tmp_path: Path, row: dict[str, Any], document_id: str, title: str, text: str) -> None:
    (document,) = read(write_rows(tmp_path / "rows.jsonl", row))
    assert (document.id, document.metadata["title"], document.page_content) == (document_id, title, text)


def test_the_passages_of_questions_are_told_apart_by_what_they_say(tmp_path: Path) -> None:
    rows = [
        {"id": "q1", "question": "?", "title": "Oil_crisis", "context": "Same"},
        {"id": "q2", "question": "?", "title": "Oil_crisis", "context": "Same"},
        {
            "id": "q3",
            "contexts": [{"title": "Oil crisis", "text": "Other"}, {"title": "Oil crisis", "sentences": ["Same"]}],
        },
    ]
    documents = read(write_rows(tmp_path / "rows.jsonl", *rows))
    assert [document.page_content for document in documents] == ["Same", "Same", "Other", "Same"]
    assert len({document.id for document in documents}) == 2
    assert documents[0].metadata["title"] == "Oil crisis"


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "ROWS.JSONL.GZ"])
def test_packed_rows_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b'{"doc_id": "d1", "text": "Body"}\n\n'))
    assert [document.id for document in read(path)] == ["d1"]


def test_a_bad_row_is_skipped_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"doc_id": 1, "text": "Body"}\n{"doc_id": 2, "text": \n[1]\n{"doc_id": 4}\n{"doc_id": 5, "text": " "}\n'
    )
    corpus = Corpus([path])
    assert [document.id for document in corpus.documents()] == ["1"]
    assert [skipped.source.rpartition(" ")[2] for skipped in corpus.skipped] == ["2", "3", "4", "5"]


def test_what_utf8_cannot_store_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"doc_id": "d1", "text": "a \\ud800 b"}\n')
    assert read(path)[0].page_content == "a ? b"


BAD_FILES = {
    "binary.txt": b"\x00\x01\x02\x03" * 100,
    "damaged.pdf": b"%PDF-1.4 nothing that follows is a PDF",
    "scanned.pdf": pdf_bytes([[]]),
    "empty.md": b"  \n",
    "deep.html": b"<div>" * 3000 + b"hello",
    "binary.html": b"<html>\x00\x00</html>",
    "cut.jsonl.gz": gzip.compress(b'{"text": "Body"}\n' * 1000)[:40],
    "empty.jsonl": b"\n",
    "questions.jsonl": b'{"id": 1, "question": "Where is the text?"}\n',
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BAD_FILES[name])
    with pytest.raises(CorpusError, match=name) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_bad_files_among_good_ones_are_skipped_and_listed(tmp_path: Path) -> None:
    write_facts(tmp_path)
    for name, raw in BAD_FILES.items():
        (tmp_path / name).write_bytes(raw)
    corpus = Corpus([tmp_path])
    assert len(list(corpus.documents())) == 4
    assert sorted(Path(skipped.source).name for skipped in corpus.skipped) == sorted(BAD_FILES)


def test_strict_reading_stops_at_the_first_bad_file(tmp_path: Path) -> None:
    write_facts(tmp_path)
    (tmp_path / "binary.txt").write_bytes(BAD_FILES["binary.txt"])
    with pytest.raises(CorpusError, match="binary file"):
        read(tmp_path, strict=True)


def test_an_empty_folder_and_a_missing_path_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no documents in"):
        read(tmp_path)
    with pytest.raises(CorpusError, match="does not exist"):
        read(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match="neither a file nor a folder"):
        read(Path(os.devnull))
    with pytest.raises(CorpusError, match="no path"):
        read()


def test_a_name_that_is_not_utf8_becomes_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9/th\xe9.txt"))
    path.parent.mkdir()
    path.write_bytes(b"Tea.")
    (document,) = read(tmp_path)
    assert document.metadata["document_id"] == r"caf\xe9/th\xe9.txt"
    (document,) = read(path)
    assert document.metadata["document_id"] == r"th\xe9.txt"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret.txt"
    path.write_text("secret")
    path.chmod(0)
    with pytest.raises(CorpusError, match="Permission denied"):
        read(path)
