"""What the demo prints, over an engine with a scripted model."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console, RenderableType

from slarag.cli.answer_view import answer_view
from slarag.cli.decision_view import decision_view
from slarag.cli.demo_run import Asked, ask_all
from slarag.cli.demo_view import demo_view
from slarag.demo import DemoQuestion
from slarag.engine import Engine
from slarag.sla.evidence import Passage
from slarag.sla.intents import IntentPrediction
from tests.fakes import FixedClassifier, PassageList, ScriptedBackend

PASSAGES = [
    Passage(passage_id="titan#0", document_id="titan.md", title="Titan", text="Christiaan Huygens discovered Titan."),
    Passage(
        passage_id="mars#0", document_id="mars.md", title="[bold]Mars[/bold]", text="Rust colours Mars\x1b[31m red."
    ),
]
QUESTIONS = [
    DemoQuestion(
        id="1",
        question="Who discovered Titan?",
        answers=("Christiaan Huygens",),
        intent="factoid",
        page=("titan.md",),
        is_impossible=False,
    ),
    DemoQuestion(id="2", question="How old is Io?", answers=(), intent="factoid", page=(), is_impossible=True),
]


@pytest.fixture
def engine() -> Iterator[Engine]:
    sources = {passage.document_id: passage.text for passage in PASSAGES}
    with Engine.open(PassageList(PASSAGES, sources), backend=ScriptedBackend(), classifier=FixedClassifier()) as engine:
        yield engine


@pytest.fixture
def asked(engine: Engine) -> list[Asked]:
    columns = [ask_all(engine, QUESTIONS, profile, lambda: None) for profile in ("fast", "safe")]
    return [one for row in zip(*columns, strict=True) for one in row]


def printed(*renderables: RenderableType, width: int = 140) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, markup=False, highlight=False, emoji=False)
    for renderable in renderables:
        console.print(renderable)
    return out.getvalue()


def test_every_question_is_asked_under_every_profile(asked: list[Asked]) -> None:
    assert [(one.question.id, one.profile) for one in asked] == [
        ("1", "fast"),
        ("1", "safe"),
        ("2", "fast"),
        ("2", "safe"),
    ]
    assert all(one.answer.profile == one.profile for one in asked)
    assert all(0 <= one.f1 <= 1 for one in asked)


def test_the_demo_shows_answers_citations_plans_objectives_and_graphs(asked: list[Asked]) -> None:
    text = printed(*demo_view(asked))
    shown = ("Who discovered Titan?", "Christiaan Huygens", "the pages do not say", "titan.md", "confidence", "latency")
    assert [
        words for words in (*shown, "the profiles side by side", "question ─▶ retriever") if words not in text
    ] == []
    assert "\x1b" not in text


def test_what_stands_in_a_document_is_never_markup(engine: Engine) -> None:
    answer = engine.ask("What colours Mars?", "thorough")
    text = printed(answer_view(answer))
    assert "\x1b" not in text
    assert answer.citations
    assert answer.citations[0].quote in text


def test_a_decision_shows_both_sides(engine: Engine) -> None:
    decision = engine.explain("Who discovered Titan?", "safe")
    text = printed(decision_view(IntentPrediction.certain("factoid"), decision))
    assert decision.plan.key in text
    assert f"{len(decision.feasible)} plans feasible, {len(decision.rejected)} rejected" in text


def test_no_name_of_a_plan_is_cut_where_the_terminal_is_narrow(engine: Engine) -> None:
    decision = engine.explain("Who discovered Titan?", "safe")
    text = printed(decision_view(IntentPrediction.certain("factoid"), decision), width=80)
    assert "…" not in text
    first_column = "".join(line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│"))
    shown = [option.plan.key for option in [*decision.feasible, *decision.rejected] if option.plan.key in first_column]
    assert len(shown) >= 7
