from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from slarag.evals import Dataset, load_dataset
from slarag.evals.formats.detect import detect
from slarag.sla.errors import DataError

SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "River_Thames",
            "paragraphs": [
                {
                    "context": "The Thames flows through London.",
                    "qas": [
                        {
                            "id": "q1",
                            "question": "What flows through London?",
                            "answers": [
                                {"text": "The Thames", "answer_start": 0},
                                {"text": "The Thames", "answer_start": 0},
                            ],
                            "is_impossible": False,
                        },
                        {"id": "q2", "question": "Who built it?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ],
}

HOTPOT = [
    {
        "_id": "h1",
        "question": "Are both rivers in England?",
        "answer": "yes",
        "type": "comparison",
        "level": "hard",
        "supporting_facts": [["Thames", 0], ["Severn", 1]],
        "context": [
            ["Thames", ["A river.", " In England."]],
            ["Severn", ["Long.", " It is."]],
            ["Seine", ["In France."]],
        ],
    }
]


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_rows(path: Path, *rows: Any) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def test_official_squad_is_recognised_and_read(tmp_path: Path) -> None:
    data = load_dataset(write(tmp_path / "dev-v2.0.json", SQUAD))
    assert data.format == "squad"
    answered, impossible = data.items
    assert answered.answers == ("The Thames",)
    assert answered.passages[0].title == "River Thames"
    assert impossible.is_impossible
    assert not impossible.answers
    assert len(list(data.documents())) == 1
    assert answered.recall_at(5, answered.passages) == 1.0
    assert impossible.recall_at(5, ()) is None


def test_official_hotpotqa_is_recognised_and_read(tmp_path: Path) -> None:
    (item,) = load_dataset(write(tmp_path / "hotpot.json", HOTPOT)).items
    assert item.intent_hint == "comparison"
    assert [p.text for p in item.passages] == ["A river. In England.", "Long. It is.", "In France."]
    assert item.recall_at(5, item.passages[:1]) == 0.5


def test_nq_open_is_recognised_and_needs_no_ids(tmp_path: Path) -> None:
    data = load_dataset(write_rows(tmp_path / "NQ-open.dev.jsonl", {"question": "who", "answer": ["Ann", "Ann Lee"]}))
    assert data.format == "nq-open"
    assert data.items[0].answers == ("Ann", "Ann Lee")
    assert list(data.documents()) == []


def test_a_beir_folder_is_recognised_and_scored_on_retrieval_only(tmp_path: Path) -> None:
    write_rows(tmp_path / "corpus.jsonl", {"_id": "d1", "title": "T", "text": "one"}, {"_id": "d2", "text": "two"})
    write_rows(tmp_path / "queries.jsonl", {"_id": "q1", "text": "one?"}, {"_id": "q9", "text": "not judged"})
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n")
    data = load_dataset(tmp_path)
    assert data.format == "beir"
    (item,) = data.items
    assert [gold.document_id for gold in item.gold] == ["d1"]
    assert not item.has_answer_key
    assert [d.document_id for d in data.documents()] == ["d1", "d2"]


@pytest.mark.parametrize(
    ("row", "answers", "impossible"),
    [
        ({"answers": ["a", "a", "b"]}, ("a", "b"), False),
        ({"answer": "a", "answer_aliases": ["b"]}, ("a", "b"), False),
        ({"answer": True}, ("yes",), False),
        ({"answer": False}, ("no",), False),
        ({"label": "maybe"}, ("maybe",), False),
        ({"answers": [], "is_impossible": True}, (), True),
        ({"answer": "x", "answerable": False}, (), True),
        ({"answer": "Insufficient information."}, (), True),
        ({"answer": "No.", "question_type": "null_query"}, (), True),
    ],
)
def test_answers_of_rows(tmp_path: Path, row: dict[str, Any], answers: tuple[str, ...], impossible: bool) -> None:
    path = write_rows(tmp_path / "rows.jsonl.gz", {"id": "1", "question": "?", "type": "x", **row})
    (item,) = load_dataset(path).items
    assert (item.answers, item.is_impossible) == (answers, impossible)


def test_contexts_of_rows_may_be_texts_or_sentences(tmp_path: Path) -> None:
    contexts = [
        {"title": "A", "text": "One."},
        {"title": "B", "sentences": ["Two.", " Three."], "is_supporting": True},
    ]
    (item,) = load_dataset(
        write_rows(tmp_path / "r.jsonl", {"question": "?", "answer": "x", "contexts": contexts})
    ).items
    assert [p.text for p in item.passages] == ["One.", "Two. Three."]
    assert [gold.text for gold in item.gold] == ["Two. Three."]


def test_documents_beside_the_questions_are_found_and_cut_for_reading(tmp_path: Path) -> None:
    paragraphs = [{"title": "s", "text": "first " * 150}, {"title": "s", "text": "second " * 150}]
    write_rows(
        tmp_path / "city_docs.jsonl",
        {"doc_id": "d", "title": "D", "paragraphs": paragraphs},
        {"doc_id": "e", "text": "other"},
    )
    path = write_rows(tmp_path / "city_questions.jsonl", {"question": "?", "answers": ["x"], "doc_id": "d"})
    data = load_dataset(path)
    whole = next(data.documents())
    pieces = data.items[0].passages
    assert data.corpus_path == tmp_path / "city_docs.jsonl"
    assert len(pieces) == 2
    assert all(whole.text[p.start : p.start + len(p.text)] == p.text for p in pieces)


def test_gold_spans_are_found_by_overlap(tmp_path: Path) -> None:
    write_rows(tmp_path / "x_docs.jsonl", {"doc_id": "d", "text": "a" * 1000 + "\n" + "b" * 1000})
    references = [{"content": "b", "start_index": 1500, "end_index": 1600}]
    path = write_rows(tmp_path / "x_questions.jsonl", {"question": "?", "corpus_id": "d", "references": references})
    (item,) = load_dataset(path).items
    assert [item.recall_at(5, [piece]) for piece in item.passages] == [0.0, 1.0]


def test_gold_passages_are_recognised_by_text_in_an_index_built_elsewhere(tmp_path: Path) -> None:
    from slarag.sla.evidence import Passage

    (item, _) = load_dataset(write(tmp_path / "dev.json", SQUAD)).items
    elsewhere = Passage(
        passage_id="9", document_id="wiki/London", text="Intro.\nThe Thames  flows through London. More."
    )
    assert item.recall_at(5, [elsewhere]) == 1.0
    assert item.recall_at(5, [Passage(passage_id="9", document_id="x", text="The Thames")]) == 0.0


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.jsonl", '{"question": "?"}\n{"question": 3.5, "answers": 7}\n', "line 2: field 'answers' is 7, not a list"),
        ("a.jsonl", '{"question": "?"}\n{"answer": "x"}\n', "line 2: field 'question' is missing"),
        ("a.jsonl", '{"question": "?"}\n{oops}\n', "line 2, column 2: not JSON"),
        ("a.jsonl", "", "is empty"),
        ("a.jsonl", '{"text": "x"}\n', "has no 'question'"),
        ("a.jsonl", '{"id": "1", "question": "?"}\n{"id": "1", "question": "!"}\n', "'1' appears twice"),
        ("a.json", '{"data": [{"paragraphs": [{"qas": []}]}]}', "data[0].paragraphs[0]: field 'context' is missing"),
        ("a.json", "[1, 2]", "not of HotpotQA's questions"),
        ("a.jsonl.gz", "not packed", "damaged gzip"),
        ("a.jsonl", "\udcff", "not UTF-8"),
        ("a.jsonl", '{"question": "?", "context": "c \\ud800"}\n', "line 1: field 'context' is no text: surrogates"),
        ("a.jsonl", '{"question": "?", "answers": ["\\ud800"]}\n', "line 1: field 'answers' is no text"),
        (
            "a.jsonl",
            '{"question": "?", "corpus_id": "c", "references": [{"start_index": "abc", "end_index": 3}]}\n',
            '"abc", not a whole number',
        ),
    ],
)
def test_a_wrong_file_is_named_with_its_place(tmp_path: Path, name: str, content: str, complaint: str) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode("utf-8", errors="surrogateescape"))
    with pytest.raises(DataError) as caught:
        load_dataset(path)
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_of_something_else_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_dataset(tmp_path / "nothing.jsonl")
    with pytest.raises(DataError, match=r"without corpus\.jsonl and queries\.jsonl"):
        load_dataset(tmp_path)


def test_a_forced_format_wins_over_the_content(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", {"question": "?", "answer": ["x"]})
    assert detect(path) == "nq-open"
    assert load_dataset(path, data_format="jsonl").format == "jsonl"


def test_a_larger_sample_contains_the_smaller(tmp_path: Path) -> None:
    data = load_dataset(
        write_rows(tmp_path / "r.jsonl", *({"id": str(n), "question": "?", "answer": "x"} for n in range(50)))
    )
    assert set(ids(data, 10, 3)) < set(ids(data, 20, 3))
    assert ids(data, 10, 3) != ids(data, 10, 4)
    assert ids(data, None, 3) == [str(n) for n in range(50)]


def ids(data: Dataset, limit: int | None, seed: int) -> list[str]:
    return [item.item_id for item in data.sample(limit, seed)]
