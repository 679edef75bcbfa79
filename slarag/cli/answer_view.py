"""One answer for a person: what it says, what it rests on, and what of the contract was kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from .streams import printable
from .words import MET, dollars, shortened, verdict

if TYPE_CHECKING:
    from ..sla.answer import Answer
    from ..sla.evidence import Citation
    from ..sla.report import ObjectiveResult

QUOTE_CHARACTERS = 200


def answer_view(answer: Answer) -> Group:
    """The answer or abstention, its citations, and below it confidence, plan, cost and report."""
    return Group(
        headline(answer), *map(citation_line, answer.citations), Text(""), _facts(answer), report_lines(answer.report)
    )


def headline(answer: Answer) -> Text:
    """The answer's text; for an abstention its reason, and the best candidate that was withheld."""
    if not answer.abstained:
        return Text(printable(answer.text), style="bold")
    line = Text("no answer", style="bold yellow").append(f": {printable(answer.abstain_reason or '')}", style="yellow")
    if answer.best_text:
        line.append(f"\nbest candidate, withheld: {shortened(printable(answer.best_text), 100)}", style="dim")
    return line


def citation_line(citation: Citation) -> Text:
    """A quote and where it stands."""
    quote = shortened(printable(citation.quote), QUOTE_CHARACTERS)
    source = printable(citation.title or citation.document_id)
    return Text("  “").append(quote).append(f"”  {source} [{citation.start}:{citation.end}]", style="dim")


def report_lines(report: Sequence[ObjectiveResult]) -> Text:
    """Each objective met or missed, one a line."""
    lines = Text()
    for result in report:
        line = verdict(result)
        lines.append(f"  {line}\n", style="green" if line.startswith(MET) else "red")
    lines.rstrip()
    return lines


def _facts(answer: Answer) -> Text:
    plan = answer.decisions[-1].plan.key if answer.decisions else "none"
    steps = f" after {len(answer.decisions)} decisions" if len(answer.decisions) > 1 else ""
    return Text(
        f"  confidence {answer.confidence:.0%} · {answer.intent.top} · plan {plan}{steps} · "
        f"{dollars(answer.usd)} · profile {answer.profile}",
        style="dim",
    )
