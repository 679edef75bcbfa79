"""A policy on a live pool of simulated devices, beside the simulator on the same requests.

    python bench/pool_live.py --trace TRACE --minutes 10 --speedup 4 --json

The pool is real: processes, HTTP, resizes, a tiny model with random weights. Its devices are paced as accelerators that
serve the model whose sizes are below. First a few steps and two resizes are measured and a service model is fitted to
them; then the trace's first minutes are replayed, quicker by `--speedup` and with requests shorter by `--shorten`; then
the simulator replays the same under the same policy. What comes out is simulated, twice: once by the clock, once by
arithmetic. `late_share` says how much of the steps' time this host was too slow; near 0, or the figures mean little.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from _common import document, share, show, spread

from slarag.backends.elastic.cluster.options import PoolOptions
from slarag.backends.elastic.http.app import build_app
from slarag.backends.elastic.measured_steps import measure_steps
from slarag.backends.elastic.models.config import Qwen3MoeConfig
from slarag.backends.elastic.models.random_model import make_random_model
from slarag.backends.elastic.pacing import SimulatedDevice, load_device_profile
from slarag.backends.elastic.serve.engine import PoolEngine
from slarag.backends.elastic.serve.sequence import GenerationOptions
from slarag.backends.pool.controller import PoolController
from slarag.backends.pool.driver import HttpPool
from slarag.backends.pool.policy import ForecastPolicy, PolicyLimits
from slarag.backends.pool.service import Objectives, ServiceModel
from slarag.backends.pool.simulator import Simulator
from slarag.backends.pool.trace import Arrival, load_trace

TOKEN = "bench"
SERVED = Qwen3MoeConfig(
    vocab_size=320,
    hidden_size=64,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    num_experts=16,
    experts_per_token=2,
    moe_intermediate_size=32,
)
QWEN3_30B_A3B = Qwen3MoeConfig(
    vocab_size=151_936,
    hidden_size=2048,
    num_layers=48,
    num_heads=32,
    num_kv_heads=4,
    head_dim=128,
    num_experts=128,
    experts_per_token=8,
    moe_intermediate_size=768,
)


@dataclass(slots=True)
class Live:
    """What the clients saw. met: requests within both objectives. device_seconds: from command to gone."""

    engine: PoolEngine
    objectives: Objectives
    met: int = 0
    done: int = 0
    device_seconds: float = 0.0
    peak: int = 0

    async def replay(self, trace: Sequence[Arrival]) -> None:
        """Ask at the trace's times; returns when all are answered."""
        started = time.monotonic()
        counting = asyncio.create_task(self._count_devices())
        clients: list[asyncio.Task[None]] = []
        for index, arrival in enumerate(trace):
            await asyncio.sleep(max(0.0, started + arrival.at - time.monotonic()))
            clients.append(asyncio.create_task(self._ask(index, arrival)))
        await asyncio.gather(*clients)
        counting.cancel()
        with suppress(asyncio.CancelledError):
            await counting

    async def _ask(self, index: int, arrival: Arrival) -> None:
        prompt = random.Random(index).choices(range(SERVED.vocab_size), k=arrival.input_tokens)
        options = GenerationOptions(max_tokens=arrival.output_tokens, ignore_eos=True)
        asked = time.monotonic()
        outputs = self.engine.outputs_of(self.engine.submit(prompt, options))
        times = [time.monotonic() async for output in outputs if output.token is not None]
        itl_s = (times[-1] - times[0]) / max(1, len(times) - 1)
        self.done += 1
        self.met += times[0] - asked <= self.objectives.ttft_s and itl_s <= self.objectives.itl_s

    async def _count_devices(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(0.05)
            now, status = time.monotonic(), self.engine.resizing.status
            size = max(self.engine.size, (status.target or 0) if status.is_running else 0)
            self.device_seconds += (now - before) * size
            self.peak = max(self.peak, size)
            before = now


async def switch_seconds(engine: PoolEngine, devices: int) -> tuple[float, float]:
    """Seconds of a resize by one up, and back down; the median of three."""
    seconds = [((await engine.resize(devices + 1)).seconds, (await engine.resize(devices)).seconds) for _ in range(3)]
    return median(up for up, _ in seconds), median(down for _, down in seconds)


async def late_share(engine: PoolEngine) -> float:
    """Of the time of all steps, how much they took too long; a last step on each device tells."""
    step = {"segments": [[-1, 0, [1], 0, [0]]], "sample": [None], "forget": [-1]}
    devices = list(engine.cluster.devices.values())
    late = [(await engine.cluster.tell(device, "step", **step))["late_seconds"] for device in devices]
    return sum(late) / max(engine.metrics.device_seconds, 1e-9)


def prepared(args: argparse.Namespace) -> list[Arrival]:
    """The trace's first minutes, compressed, with shorter requests."""
    trace = load_trace(args.trace, until_s=60 * args.minutes)
    return [
        Arrival(a.at / args.speedup, max(1, a.input_tokens // args.shorten), max(2, a.output_tokens // args.shorten))
        for a in trace
    ]


async def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Calibrate, run live, simulate."""
    device = SimulatedDevice(
        profile=load_device_profile(args.device), time_scale=args.slowdown, memory_scale=1e-3, stands_for=QWEN3_30B_A3B
    )
    options = PoolOptions(
        model=make_random_model(folder / "model", SERVED),
        devices=args.devices,
        simulated=device,
        page_bytes=4096,
        kv_blocks=1024,
        max_batch_tokens=args.chunk + args.batch,
        max_sequences=args.batch,
        hang_seconds=30.0,
        standbys=2,
    )
    engine = await PoolEngine.start(options, max_waiting=100_000)
    try:
        lengths = [args.chunk // 8, args.chunk // 2, args.chunk]
        samples = await measure_steps(engine, prompts=lengths, batches=(1, args.batch // 4, args.batch))
        up_s, down_s = await switch_seconds(engine, args.devices)
        model = ServiceModel.fit(
            samples, chunk_tokens=args.chunk, max_answers=args.batch, scale_up_s=up_s, scale_down_s=down_s
        )
        return await compare(args, engine, model)
    finally:
        await engine.aclose()


async def compare(args: argparse.Namespace, engine: PoolEngine, model: ServiceModel) -> dict[str, Any]:
    trace, objectives = prepared(args), Objectives(ttft_s=args.ttft, itl_s=args.itl)
    limits = PolicyLimits(ceiling=args.ceiling)
    transport = httpx.ASGITransport(build_app(engine, model="tiny", token=TOKEN))
    driver = HttpPool(
        "http://pool",
        devices=args.devices,
        token=TOKEN,
        objectives=objectives,
        takes_standbys=True,
        transport=transport,
    )
    await driver.observe()
    controller = PoolController(driver, ForecastPolicy(model, objectives, limits), interval_s=args.interval)
    controlling = asyncio.create_task(controller.run())
    live = Live(engine, objectives)
    try:
        await live.replay(trace)
    finally:
        controlling.cancel()
        with suppress(asyncio.CancelledError):
            await controlling
        await driver.aclose()
    late = await late_share(engine)
    simulator = Simulator(model, objectives, trace, devices=args.devices, standbys=2, interval_s=args.interval)
    simulated = simulator.run(ForecastPolicy(model, objectives, limits))
    met = share(live.met, live.done)
    return {
        "live_attainment": met,
        "simulator_attainment": share(round(simulated.attainment * simulated.requests), simulated.requests),
        "difference_points": spread([100 * abs(met["value"] - simulated.attainment)], "points"),
        "live_device_seconds": spread([live.device_seconds], "s"),
        "simulator_device_seconds": spread([simulated.device_seconds], "s"),
        "live_peak_devices": spread([float(live.peak)], ""),
        "simulator_peak_devices": spread([float(simulated.peak_devices)], ""),
        "late_share": spread([late], "share"),
        "fitted_prefill_tokens_per_s": spread([model.prefill_tokens_per_s], "1/s"),
        "fitted_step_base_s": spread([model.step_base_s], "s"),
        "fitted_step_per_answer_s": spread([model.step_per_answer_s], "s"),
        "fitted_overlap": spread([model.overlap], "share"),
        "scale_up_s": spread([model.scale_up_s], "s"),
        "scale_down_s": spread([model.scale_down_s], "s"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the trace")
    parser.add_argument("--speedup", type=float, default=4.0, help="seconds of the trace in one second")
    parser.add_argument("--shorten", type=int, default=8, help="requests have so many times fewer tokens")
    parser.add_argument("--device", default="ascend_910b", help="a shipped profile or a file")
    parser.add_argument("--slowdown", type=float, default=10.0, help="seconds here for one of the device's")
    parser.add_argument("--chunk", type=int, default=128, help="tokens of prompts in a step")
    parser.add_argument("--batch", type=int, default=32, help="sequences of a device")
    parser.add_argument("--devices", type=int, default=2, help="at the start")
    parser.add_argument("--ceiling", type=int, default=6)
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between decisions")
    parser.add_argument("--ttft", type=float, default=2.0, help="objective, seconds here")
    parser.add_argument("--itl", type=float, default=0.4, help="objective, seconds here")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(args, Path(folder)))
    workload = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    show(document({"simulated": True, **workload, "trace": args.trace.name}, figures), as_json=args.json)


if __name__ == "__main__":
    main()
