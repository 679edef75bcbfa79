"""An engine whose replies are written down, for testing what happens around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slarag.sla.answer import Answer
from slarag.sla.evidence import Passage
from slarag.sla.intents import Intent, IntentPrediction
from slarag.sla.plan import Plan
from slarag.sla.profile import Profile
from slarag.sla.report import Measured, report

Script = Callable[[str], Answer | Exception]


def reply(
    text: str = "",
    *,
    best_text: str | None = None,
    confidence: float = 0.9,
    intent: Intent = "factoid",
    passages: Sequence[Passage] = (),
    latency_ms: float = 10.0,
    usd: float | None = 1e-6,
    profile: str = "balanced",
) -> Answer:
    """An answer; without `text` an abstention on `best_text`."""
    from slarag.sla.profile import load_profile

    measured = Measured(
        latency_ms=latency_ms,
        usd=usd,
        expected_f1=confidence,
        wrong_answer_probability=1 - confidence,
        abstained=not text,
    )
    return Answer(
        question="",
        text=text,
        abstained=not text,
        abstain_reason="" if text else "not sure enough",
        best_text=text if best_text is None else best_text,
        confidence=confidence,
        citations=(),
        intent=IntentPrediction.certain(intent),
        decisions=(),
        report=report(load_profile(profile), measured),
        usd=usd,
        device_seconds=0.01,
        retrieved=tuple(passages),
        profile=profile,
    )


class ScriptedEngine:
    """Replies by question; `asked` lists (question, profile, number of passages given)."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.asked: list[tuple[str, str, int | None]] = []

    async def aask(
        self,
        question: str,
        profile: Profile | None = None,
        *,
        plan: Plan | None = None,
        passages: Sequence[Passage] | None = None,
    ) -> Answer:
        assert profile is not None
        self.asked.append((question, profile.name, None if passages is None else len(passages)))
        result = self._script(question)
        if isinstance(result, Exception):
            raise result
        return result
