"""What runs on further questions, and what is not run twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from slarag.evals.calibration_data import choose_others, plans_for
from slarag.evals.calibration_settings import CalibrationSettings
from slarag.evals.calibration_stages import measure_further
from slarag.evals.formats import load_dataset
from slarag.evals.trials import Trial, TrialLog, TrialRun
from slarag.sla.answer import Answer
from slarag.sla.errors import BackendUnavailableError
from slarag.sla.evidence import Passage
from slarag.sla.intents import INTENTS, Intent, IntentPrediction
from slarag.sla.plan import Plan, default_plan_space
from slarag.sla.profile import Profile
from tests.evals.scripted_engine import reply
from tests.evals.test_calibration import write_rows

USUAL = Plan(passages=5)
RARE = Plan(passages=7, hops=2)


class Planned:
    """Answers under any plan but those of `failing`, by its key; `ran` lists the plans' keys."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.failing: set[str] = set()

    async def aclassify(self, question: str) -> IntentPrediction:
        return IntentPrediction.certain("list")

    async def aask(
        self,
        question: str,
        profile: Profile | None = None,
        *,
        plan: Plan | None = None,
        passages: Sequence[Passage] | None = None,
        intent: IntentPrediction | None = None,
    ) -> Answer:
        assert plan is not None
        self.ran.append(plan.key)
        if plan.key in self.failing:
            raise BackendUnavailableError("it does not answer", remedy="start it")
        return reply("colour 1", intent="list")


def test_further_questions_run_under_the_plans_that_they_would_get_and_a_few_more(tmp_path: Path) -> None:
    engine, settings = Planned(), _settings(tmp_path)
    found = _measured(engine, settings)
    assert {trial.plan_key for trial in found} == {USUAL.key, *(plan.key for plan in plans_for(0, settings.plans))}
    assert RARE.key not in engine.ran, "it is another intent's"


def test_a_plan_is_not_run_twice_on_a_question_and_one_that_failed_is_run_again(tmp_path: Path) -> None:
    engine, settings = Planned(), _settings(tmp_path)
    engine.failing = {USUAL.key}
    before = _measured(engine, settings)
    engine.ran.clear()
    engine.failing = set()
    after = _measured(engine, settings)
    assert engine.ran == [USUAL.key]
    assert [trial.plan_key for trial in after] == [*(trial.plan_key for trial in before), USUAL.key]
    engine.ran.clear()
    assert _measured(engine, settings) == after
    assert engine.ran == []


def _settings(folder: Path) -> CalibrationSettings:
    data = write_rows(folder / "houses.jsonl", 1, 0)
    return CalibrationSettings(
        data=(data,), out=folder / "c.json", confidence_questions=1, plans=default_plan_space(), concurrency=1
    )


def _measured(engine: Planned, settings: CalibrationSettings) -> list[Trial]:
    favoured: dict[Intent, tuple[Plan, ...]] = {intent: (USUAL if intent == "list" else RARE,) for intent in INTENTS}
    others = choose_others([load_dataset(settings.data[0])], settings, [])
    run = TrialRun(engine, settings.plans, lambda: None)
    log = TrialLog(settings.folder / "trials.jsonl")
    return asyncio.run(measure_further(run, others, favoured, log, settings, lambda _: None))
