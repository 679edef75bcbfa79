"""What the demo prints: a table a question, the profiles side by side, and the graphs of two plans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from statistics import fmean, median

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ..sla.answer import Answer
from ..sla.plan import Plan
from .answer_view import citation_line, headline
from .demo_run import Asked
from .graph_view import graph_view
from .words import MET, amount, dollars, verdict


def demo_view(asked: Sequence[Asked]) -> Iterator[RenderableType]:
    """Everything the demo shows, top to bottom."""
    for _, rows in groupby(asked, key=lambda one: one.question):
        yield _question_table(list(rows))
    yield Rule("the profiles side by side")
    yield _summary(asked)
    for plan in _two_plans(asked):
        yield Rule(f"the graph of plan {plan.key}")
        yield graph_view(plan)


def _question_table(rows: Sequence[Asked]) -> Table:
    question = rows[0].question
    expected = " / ".join(question.answers[:2]) or "the pages do not say"
    title = Text(question.question, style="bold").append(f"   expected: {expected}", style="dim not bold")
    table = Table("profile", "answer and citation", "plan", "confidence", "objectives", "cost", title=title)
    table.title_justify = "left"
    table.columns[1].ratio = 1
    table.columns[2].max_width = 16
    table.expand = True
    for before, one in zip([None, *rows], rows, strict=False):
        table.add_row(*_cells(one, before), end_section=True)
    return table


def _cells(one: Asked, before: Asked | None) -> tuple[RenderableType, ...]:
    answer = one.answer
    plan = answer.decisions[-1].plan.key if answer.decisions else ""
    return (
        Text(one.profile, style="bold"),
        _said(answer, before.answer if before else None),
        Text(plan.replace("-", " ")),
        Text(f"{answer.confidence:.0%}"),
        _objectives(one),
        Text(dollars(answer.usd)),
    )


def _said(answer: Answer, before: Answer | None) -> RenderableType:
    """The answer with its first citation; an answer that was given above is not quoted again."""
    if answer.abstained:
        return headline(answer)
    if before is not None and (answer.text, answer.citations[:1]) == (before.text, before.citations[:1]):
        return headline(answer).append("\nquoted as above", style="dim not bold")
    return Group(headline(answer), *(citation_line(citation, answer.passages) for citation in answer.citations[:1]))


def _objectives(one: Asked) -> Text:
    lines = Text()
    for result in one.answer.report:
        line = verdict(result)
        lines.append(line + "\n", style="green" if line.startswith(MET) else "red")
    lines.rstrip()
    return lines


def _summary(asked: Sequence[Asked]) -> Table:
    table = Table("profile", "answered", "mean F1", "all objectives met", "median time", "mean cost")
    for profile in dict.fromkeys(one.profile for one in asked):
        rows = [one for one in asked if one.profile == profile]
        costs = [one.answer.usd for one in rows if one.answer.usd is not None]
        kept = sum(all(result.met for result in one.answer.report) for one in rows)
        table.add_row(
            Text(profile, style="bold"),
            f"{sum(not one.answer.abstained for one in rows)} of {len(rows)}",
            f"{fmean(one.f1 for one in rows):.2f}",
            f"{kept} of {len(rows)}",
            amount(median(one.wall_ms for one in rows), "ms"),
            dollars(fmean(costs) if costs else None),
        )
    return table


def _two_plans(asked: Sequence[Asked]) -> list[Plan]:
    """The smallest and the largest plan that ran, by how many readings they ask for."""
    plans = {decision.plan.key: decision.plan for one in asked for decision in one.answer.decisions}
    by_size = sorted(plans.values(), key=lambda plan: (plan.replicas * plan.hops, plan.rerank, plan.passages, plan.key))
    return by_size[:1] + by_size[-1:] if len(by_size) > 1 else by_size
