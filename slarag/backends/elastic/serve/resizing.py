"""The resizes of a pool: one at a time, to absolute targets, with a record of those that were."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..cluster.cluster import Cluster
from ..cluster.device import Device
from ..cluster.plan import ResizePlan, plan_resize, plan_without
from ..cluster.replication import Replication
from ..cluster.resize import Resize
from ..errors import ResizeError, WorkerGoneError

Phase = Literal["idle", "preparing", "committing", "completed", "failed"]
MoveWork = Callable[[ResizePlan], Awaitable[None]]
"""Takes the work of the leaving devices to those that stay, and opens the joining ones."""
_KEPT = 8
_RETRY_SECONDS = 1.0
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class ResizeStatus:
    """A resize. epoch: the placement's version. seconds: from command to serving at the new size.

    source and target: devices before and after.
    """

    phase: Phase = "idle"
    epoch: int = 0
    source: int | None = None
    target: int | None = None
    operation_id: str | None = None
    error: str | None = None
    bytes_moved: int = 0
    bytes_lower_bound: int = 0
    seconds: float = 0.0

    @property
    def is_running(self) -> bool:
        """Whether it is under way."""
        return self.phase in {"preparing", "committing"}


async def _nothing(_: ResizePlan) -> None: ...


class Resizing:
    """Resizes `cluster`. status: of the last resize. history: those that ended, the last one last.

    leave: as move_work, but while experts move; stay: called with the plan where that was for nothing.
    give_up: called where a device is lost and none can be had any more.
    """

    def __init__(
        self,
        cluster: Cluster,
        move_work: MoveWork,
        *,
        leave: MoveWork = _nothing,
        stay: Callable[[ResizePlan], None] = lambda _: None,
        give_up: Callable[[], None] = lambda: None,
    ) -> None:
        self.status = ResizeStatus()
        self.history: deque[ResizeStatus] = deque(maxlen=_KEPT)
        self._joined: deque[ResizeStatus] = deque(maxlen=_KEPT)
        self._cluster = cluster
        self._move_work = move_work
        self._leave = leave
        self._stay = stay
        self._give_up = give_up
        self._running: asyncio.Task[ResizeStatus] | None = None
        self._changing = asyncio.Lock()
        cluster.watch.on_lost = lambda device: cluster.start_task(self._do_without(device))

    async def run(
        self, size: int, *, operation_id: str | None = None, at_step: Callable[[str], None] = lambda _: None
    ) -> ResizeStatus:
        """Serve on `size` devices; returns when it does. Raises `ResizeError`, and serves on as before then.

        Asking for what is under way waits for it and changes nothing; asking for something else meanwhile is refused.
        An operation that is done is not done again, whatever the size is by now; for another size its id is refused.
        A caller that leaves does not stop it.
        """
        if (done := self._done(operation_id)) is not None:
            if done.target != size:
                raise ResizeError(f"operation {operation_id!r} was for {done.target} devices", remedy="use a new id")
            return done
        if self._running is not None:
            if size != self.status.target:
                raise ResizeError("a resize is running", remedy="ask again when it is done", target=self.status.target)
            done = await asyncio.shield(self._running)
            return done if operation_id is None else self._noted(replace(done, operation_id=operation_id))
        if size == len(self._cluster.placement.devices):
            self.status = ResizeStatus(source=size, target=size, operation_id=operation_id)
            self._set("completed")
            return self._noted(self.status)
        return await self._start(plan_resize(self._cluster, size), operation_id, at_step)

    async def rebalance(self, counts: Sequence[Sequence[int]], most: int) -> int:
        """Give hot experts further copies where devices have room, at most `most` each; returns how many there are.

        counts: tokens by layer with experts and expert. Raises `ResizeError` while a resize runs or a device is lost.
        """
        if any(device.is_lost for device in self._cluster.devices.values()):
            raise ResizeError("a device is lost", remedy="ask again when it is replaced")
        if self._running is not None:
            raise ResizeError("a resize is running", remedy="ask again when it is done", target=self.status.target)
        async with self._changing:
            replicas = await Replication(self._cluster).balance(counts, most)
        return sum(len(copies) for copies in replicas.values())

    @property
    def operations(self) -> list[ResizeStatus]:
        """The last operations that ended: the resizes, and those that joined one or had nothing to do."""
        return [*self.history, *self._joined]

    def _noted(self, status: ResizeStatus) -> ResizeStatus:
        self._joined.append(status)
        return status

    def _done(self, operation_id: str | None) -> ResizeStatus | None:
        if operation_id is None:
            return None
        return next((s for s in self.operations if s.operation_id == operation_id and s.phase == "completed"), None)

    async def settled(self) -> None:
        """Wait until no resize runs."""
        if self._running is not None:
            await asyncio.wait({self._running})

    async def _start(
        self, plan: ResizePlan, operation_id: str | None, at_step: Callable[[str], None] = lambda _: None
    ) -> ResizeStatus:
        target = len(plan.placement.devices)
        self.status = ResizeStatus(source=len(self._cluster.devices), target=target, operation_id=operation_id)
        self._set("preparing")
        self._running = asyncio.create_task(self._run(plan, at_step))
        self._running.add_done_callback(_drop_error)
        return await asyncio.shield(self._running)

    async def _do_without(self, device: Device) -> None:
        """Shrink the pool by a device that gets no worker. Where that cannot be, go on looking for one."""
        while device.is_lost and self._cluster.devices.get(device.number) is device:
            if self._cluster.is_broken:
                self._give_up()
                return
            with contextlib.suppress(ResizeError):
                if self._running is None and not self._changing.locked():
                    await self._start(plan_without(self._cluster, device.number), None)
                    return
            await asyncio.sleep(_RETRY_SECONDS)
            await self._cluster.watch.revive(device)

    async def _run(self, plan: ResizePlan, at_step: Callable[[str], None]) -> ResizeStatus:
        started = time.monotonic()

        async def move() -> None:
            await self._move_work(plan)
            self.status = replace(self.status, seconds=time.monotonic() - started)

        try:
            async with self._changing:
                bytes_moved = await self._attempt(plan, move, at_step)
            self._set("completed", bytes_moved=bytes_moved, bytes_lower_bound=plan.bytes_lower_bound)
        except BaseException as error:
            self._set("failed", error=str(error) or type(error).__name__, seconds=time.monotonic() - started)
            raise
        finally:
            self.history.append(self.status)
            self._running = None
        return self.status

    async def _attempt(
        self, plan: ResizePlan, move: Callable[[], Awaitable[None]], at_step: Callable[[str], None]
    ) -> int:
        """Run the transaction, and again where a worker died in it and was replaced; returns the bytes moved."""
        left = _ATTEMPTS
        while True:
            left -= 1
            transaction = Resize(self._cluster, plan, at_step=at_step, on_phase=self._on_phase)
            try:
                await transaction.run(move, leave=lambda: self._leave(plan), stay=lambda: self._stay(plan))
                return transaction.bytes_moved
            except ResizeError as error:
                if not left or not isinstance(error.__cause__, WorkerGoneError):
                    raise
                devices = list(self._cluster.devices.values())
                await asyncio.gather(*(device.settled.wait() for device in devices))
                if any(device.is_lost for device in devices):
                    raise

    def _on_phase(self, phase: str) -> None:
        self._set("preparing" if phase == "preparing" else "committing")

    def _set(self, phase: Phase, **changes: object) -> None:
        now = {"phase": phase, "epoch": self._cluster.placement.epoch, **changes}
        self.status = replace(self.status, **now)  # pyright: ignore[reportArgumentType]


def _drop_error(task: asyncio.Task[ResizeStatus]) -> None:
    """Whoever asked gets the error; when they have left, the status has it."""
    if not task.cancelled():
        task.exception()
