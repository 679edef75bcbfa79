"""The runner: every question of a file under every profile, into a folder that an interrupted run goes on from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from ..sla.atomic import write_atomically
from ..sla.errors import ConfigurationError, RunError
from ..sla.profile import Profile, load_profile
from .asking import Asker, Asks
from .folder import PAGE, REPORT, RunFolder
from .formats import Dataset, load_dataset
from .item import EvalItem
from .opening import opened
from .outcome import Failure, Measurement, Outcome
from .page import page
from .report import Report, describe_settings, make_report
from .settings import EvalSettings, OnProgress, Progress


def run(settings: EvalSettings, *, engine: Asks | None = None, on_progress: OnProgress | None = None) -> Report:
    """Evaluate, write `items.jsonl`, `report.json` and `report.html` into `settings.out`, and give the report.

    engine: asks the questions; None opens one over the data's passages with the embedded reader.
    A run that was interrupted goes on where it stopped; questions that failed are asked again. The report is of all
    profiles that the folder has outcomes of, those of earlier runs too.
    Raises `DataError` for the file, `ConfigurationError` for settings that contradict those of the folder, and
    `RunError` when every question fails.
    """
    return asyncio.run(arun(settings, engine=engine, on_progress=on_progress))


async def arun(settings: EvalSettings, *, engine: Asks | None = None, on_progress: OnProgress | None = None) -> Report:
    """The async form of `run`."""
    tell = on_progress or _silent
    profiles = _profiles(settings)
    dataset = load_dataset(settings.data, data_format=settings.format, corpus=settings.corpus)
    items = dataset.sample(settings.limit, settings.seed)
    with RunFolder(settings.out) as folder:
        fingerprint = _fingerprint(dataset, settings, profiles)
        folder.check(fingerprint)
        session = Session(settings, folder, items, tell)
        if any(session.pending(profile) for profile in profiles):
            async with opened(engine, dataset, settings, tell) as (asked, forget):
                # Only now: a call that cannot be served must not keep a corrected one from this folder.
                folder.claim(fingerprint)
                await session.ask(asked, profiles, forget)
        else:
            folder.claim(fingerprint)
    report = make_report(dataset, items, settings, session.outcomes, [profile.name for profile in profiles])
    wanted = {item.item_id for item in items}
    _write(settings, report, [outcome for outcome in session.outcomes if outcome.item_id in wanted])
    return report


class Session:
    """One start of the runner on a folder: the outcomes of earlier sessions, and those it adds."""

    def __init__(self, settings: EvalSettings, folder: RunFolder, items: Sequence[EvalItem], tell: OnProgress) -> None:
        self._settings = settings
        self._folder = folder
        self._items = items
        self._tell = tell
        self._held = {(outcome.profile, outcome.item_id): outcome for outcome in folder.outcomes()}

    @property
    def outcomes(self) -> list[Outcome]:
        """The latest outcome of every question and profile."""
        return list(self._held.values())

    def pending(self, profile: Profile) -> list[EvalItem]:
        """The items without a measurement under `profile`."""
        return [
            item for item in self._items if not isinstance(self._held.get((profile.name, item.item_id)), Measurement)
        ]

    async def ask(self, engine: Asks, profiles: Sequence[Profile], forget: Callable[[], None]) -> None:
        """Ask what is pending, one profile after the other; `forget` drops what models remember of the one before."""
        number = 1 + max((outcome.timing.session for outcome in self._held.values()), default=-1)
        asker = Asker(engine, reading=self._settings.reading, plan=self._settings.plan, session=number)
        for item in self._items[: self._settings.warm_up]:
            await asker.ask(item, profiles[0])
        for profile in profiles:
            forget()
            await self._ask_profile(asker, profile)

    async def _ask_profile(self, asker: Asker, profile: Profile) -> None:
        pending = self.pending(profile)
        done = len(self._items) - len(pending)

        def keep(outcome: Outcome) -> None:
            nonlocal done
            done += 1
            self._folder.append(outcome)
            self._held[profile.name, outcome.item_id] = outcome
            self._tell(Progress(stage=profile.name, done=done, total=len(self._items)))

        await asker.ask_all(pending, profile, concurrency=self._settings.concurrency, on_outcome=keep)


def _profiles(settings: EvalSettings) -> list[Profile]:
    """The profiles, each once; raises `ConfigurationError` for two of one name, whose outcomes would be mixed up."""
    named: dict[str, Profile] = {}
    for profile in map(load_profile, settings.profiles):
        if named.setdefault(profile.name, profile) != profile:
            raise ConfigurationError(f"two profiles are named {profile.name!r}", remedy="give each a name of its own")
    return list(named.values())


def _fingerprint(dataset: Dataset, settings: EvalSettings, profiles: Sequence[Profile]) -> dict[str, Any]:
    """What must stay the same for outcomes to be comparable; a later session may bring more questions and profiles."""
    described = describe_settings(settings)
    fixed = {name: described[name] for name in ("mode", "plan", "seed", "concurrency")}
    return {
        **fixed,
        "index": _index_of(settings),
        "data": dataset.digest,
        "corpus": dataset.corpus_digest,
        "format": dataset.format,
        "profiles": {profile.name: profile.model_dump(mode="json") for profile in profiles},
    }


def _index_of(settings: EvalSettings) -> str | None:
    """Where a given index lies, and which of all that were built there it is."""
    if settings.index is None:
        return None
    from ..retrievers.index.manifest import read_manifest

    return f"{settings.index.resolve()} {read_manifest(settings.index).data}"


def _write(settings: EvalSettings, report: Report, outcomes: Sequence[Outcome]) -> None:
    measured = [outcome for outcome in outcomes if isinstance(outcome, Measurement)]
    if not measured:
        first = next(outcome for outcome in outcomes if isinstance(outcome, Failure))
        raise RunError(
            f"all {len(outcomes)} questions failed, the first with {first.code}: {first.message}",
            remedy=f"remove the cause and run it again; the outcomes are in {settings.out}",
        )
    write_atomically(settings.out / REPORT, json.dumps(report.to_dict(), indent=1) + "\n")
    write_atomically(settings.out / PAGE, page(report, measured))


def _silent(progress: Progress) -> None:
    pass
