"""Asking, explaining, evaluating and the demo from the command line, with the real index and the shipped reader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slarag.demo import load_questions, pages_folder
from slarag.retrievers.index import build_index

from .conftest import Cli

QUESTION = "Who discovered Titan?"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "index"
    build_index([pages_folder() / "titan.md", pages_folder() / "mars.md"], folder)
    return folder


def test_an_answer_for_people_names_what_it_rests_on(cli: Cli, index: Path) -> None:
    done = cli("ask", QUESTION, "-i", index, "-p", "thorough")
    assert done.code == 0
    assert "confidence" in done.out
    assert "latency" in done.out
    assert done.err == ""


def test_an_answer_as_json_is_one_document(cli: Cli, index: Path) -> None:
    document = json.loads(cli("ask", QUESTION, "-i", index, "-p", "thorough", "--json").out)
    assert document["schema"] == 1
    assert document["question"] == QUESTION
    assert document["profile"] == "thorough"
    assert document["report"]


def test_a_question_may_come_from_standard_input(cli: Cli, index: Path) -> None:
    document = json.loads(cli("ask", "-", "-i", index, "--json", stdin=QUESTION.encode()).out)
    assert document["question"] == QUESTION


def test_a_forced_plan_runs(cli: Cli, index: Path, tmp_path: Path) -> None:
    patient = tmp_path / "patient.yaml"
    patient.write_text("name: patient\npriority: quality\n", encoding="utf-8")
    plan = '{"retrieval": "lexical", "passages": 2}'
    document = json.loads(cli("ask", QUESTION, "-i", index, "-p", patient, "--plan", plan, "--json").out)
    assert document["decisions"][0]["plan"]["retrieval"] == "lexical"
    assert document["decisions"][0]["plan"]["passages"] == 2


def test_explain_shows_what_was_chosen_over_what(cli: Cli, index: Path) -> None:
    document = json.loads(cli("explain", QUESTION, "-i", index, "-p", "fast", "--json").out)
    decision = document["decision"]
    assert decision["feasible_count"] + decision["rejected_count"] > 100
    assert document["intent"]
    done = cli("explain", QUESTION, "-i", index, "-p", "fast")
    assert decision["plan_key"] in done.out
    assert "retriever" in done.out
    assert "─▶ reasoner" in done.out


def test_explain_prints_the_graph_in_mermaid(cli: Cli, index: Path) -> None:
    assert "graph TD" in cli("explain", QUESTION, "-i", index, "--mermaid").out


def test_evaluating_and_comparing(cli: Cli, tmp_path: Path) -> None:
    page = (pages_folder() / "titan.md").read_text(encoding="utf-8")
    row = {"question": QUESTION, "answers": ["Christiaan Huygens"], "context": page}
    data = tmp_path / "questions.jsonl"
    data.write_text(json.dumps(row) + "\n", encoding="utf-8")
    for name, plan in (("a", '{"passages": 1}'), ("b", '{"passages": 3}')):
        done = cli("eval", "--data", data, "--reading", "--plan", plan, "--out", tmp_path / name, "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["schema"] == 1
        assert "report.html" in done.err
    compared = cli("eval", "compare", tmp_path / "a", tmp_path / "b", "--json")
    assert json.loads(compared.out)["profiles"]


@pytest.mark.slow
def test_the_demo(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    two = [question for question in load_questions() if question.featured][:2]
    monkeypatch.setattr("slarag.cli.demo.load_questions", lambda: two)
    done = cli("demo", "--out", tmp_path / "index")
    assert done.code == 0, done.err
    assert [question.question for question in two if question.question not in done.out] == []
    for profile in ("fast", "balanced", "thorough", "safe"):
        assert done.out.count(profile) >= 3, profile
    assert "the graph of plan" in done.out
    assert "slarag ask" in done.err
    assert (tmp_path / "index" / "manifest.json").exists()
