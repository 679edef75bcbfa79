"""The stages of a calibration that run plans on questions; each goes on from what is on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..sla.intents import Intent
from ..sla.plan import Plan
from .calibration_data import corpus_of, plans_for, reads_own_passages
from .calibration_settings import CalibrationSettings
from .item import EvalItem
from .settings import OnProgress, Progress
from .trials import TimedRun, Trial, TrialLog, TrialRun


async def time_plans(run: TrialRun, items: Sequence[EvalItem], tell: OnProgress) -> list[TimedRun]:
    """Every plan on `items`, each run alone."""
    found: list[TimedRun] = []
    for done, item in enumerate(items, start=1):
        found += await run.timed(item)
        tell(Progress(stage="time", done=done, total=len(items)))
    return found


async def measure_plans(
    run: TrialRun, items: Sequence[EvalItem], log: TrialLog, settings: CalibrationSettings, tell: OnProgress
) -> list[Trial]:
    """Every plan on each of `items`, sharing their readings; nothing is timed."""
    held = log.read()
    for done, item in enumerate(items, start=1):
        if item.item_id not in held:
            held[item.item_id] = await run.trials(item, settings.plans, concurrency=settings.concurrency)
            log.append(item.item_id, held[item.item_id])
        tell(Progress(stage="measure plans", done=done, total=len(items)))
    return [trial for item in items for trial in held[item.item_id]]


async def measure_further(
    run: TrialRun,
    others: Sequence[EvalItem],
    favoured: Mapping[Intent, Sequence[Plan]],
    log: TrialLog,
    settings: CalibrationSettings,
    tell: OnProgress,
) -> list[Trial]:
    """Each question under the plans that it would really get and a few more; what was measured before stays."""
    held = log.read()
    for position, item in enumerate(others):
        had = held.setdefault(item.item_id, [])
        wanted = dict.fromkeys([*plans_for(position, settings.plans), *favoured[await run.intent(item)]])
        missing = [plan for plan in wanted if plan.key not in {trial.plan_key for trial in had}]
        if missing:
            found = await run.trials(
                item,
                missing,
                concurrency=settings.concurrency,
                reading=reads_own_passages(position, item),
                corpus=corpus_of(item),
            )
            log.append(item.item_id, found)
            had += found
        tell(Progress(stage="measure confidence", done=position + 1, total=len(others)))
    return [trial for item in others for trial in held[item.item_id]]
