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
    from ..sla.evidence import Citation, Passage
    from ..sla.report import ObjectiveResult

QUOTE_CHARACTERS = 200
CONTEXT_CHARACTERS = 60


def answer_view(answer: Answer) -> Group:
    """The answer or abstention, its citations, and below it confidence, plan, cost and report."""
    cited = [citation_line(citation, answer.passages) for citation in answer.citations]
    return Group(headline(answer), *cited, Text(""), _facts(answer), report_lines(answer.report))


def headline(answer: Answer) -> Text:
    """The answer's text; for an abstention its reason, and the best candidate that was withheld."""
    if not answer.abstained:
        return Text(printable(answer.text), style="bold")
    line = Text("no answer", style="bold yellow").append(f": {printable(answer.abstain_reason or '')}", style="yellow")
    if answer.best_text:
        line.append(f"\nbest candidate, withheld: {shortened(printable(answer.best_text), 100)}", style="dim")
    return line


def citation_line(citation: Citation, passages: Sequence[Passage]) -> Text:
    """A quote, the words around it in its passage, and where it stands."""
    before, after = _around(citation, passages)
    quote = shortened(printable(citation.quote), QUOTE_CHARACTERS)
    line = Text("“").append(before, style="dim").append(quote, style="underline").append(after, style="dim")
    source = printable(citation.document_id)
    return line.append(f"” {source} [{citation.start}:{citation.end}]", style="dim")


def _around(citation: Citation, passages: Sequence[Passage]) -> tuple[str, str]:
    """What stands before and after a quote on its line; empty for a long quote and where the passage is not at hand."""
    passage = next((one for one in passages if one.passage_id == citation.passage_id), None)
    if passage is None or len(citation.quote) >= CONTEXT_CHARACTERS:
        return "", ""
    start, end = citation.start - passage.start, citation.end - passage.start
    before = printable(passage.text[max(0, start - CONTEXT_CHARACTERS) : start]).rpartition("\n")[2]
    after = printable(passage.text[end : end + CONTEXT_CHARACTERS]).partition("\n")[0]
    # A full window was cut somewhere inside a word; what is shown begins and ends with whole ones.
    return (
        before if len(before) < CONTEXT_CHARACTERS else "…" + before.partition(" ")[2],
        after if len(after) < CONTEXT_CHARACTERS else after.rpartition(" ")[0] + "…",
    )


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
    # Only the answer that cost nothing: within a question, steps read the same passages as a matter of course.
    held = " (readings held from before)" if answer.reused_readings and not answer.device_seconds else ""
    return Text(
        f"  confidence {answer.confidence:.0%} · {answer.intent.top} · plan {plan}{steps} · "
        f"{dollars(answer.usd)}{held} · profile {answer.profile}",
        style="dim",
    )
