"""A policy on a live pool of simulated devices, beside the simulator on the same requests.

    python bench/pool_live.py --trace TRACE --minutes 10 --speedup 4 --json

The pool is real: processes, HTTP, resizes, a tiny model with random weights. Its devices are paced as accelerators that
serve the model whose sizes are below. First a few steps and resizes are measured: what a step takes beyond its model,
and how long a resize lasts. Then the trace's first minutes are replayed, quicker by `--speedup` and with requests
shorter by `--shorten`; then the simulator replays the same under the same policy. What comes out is simulated, twice:
once by the clock, once by arithmetic. `late_share` says how much of the steps' time this host was too slow; near 0, or
the figures mean little.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
from _common import document, share, show, spread

from slarag.backends.elastic.cluster.options import PoolOptions
from slarag.backends.elastic.http.app import build_app
from slarag.backends.elastic.measured_steps import measure_steps
from slarag.backends.elastic.models.config import Qwen3MoeConfig
from slarag.backends.elastic.models.random_model import make_random_model
from slarag.backends.elastic.pacing import SimulatedDevice, load_device_profile
from slarag.backends.elastic.roofline import ProfiledCost
from slarag.backends.elastic.serve.engine import PoolEngine
from slarag.backends.elastic.serve.sequence import GenerationOptions
from slarag.backends.pool.controller import PoolController
from slarag.backends.pool.driver import HttpPool
from slarag.backends.pool.policy import ForecastPolicy, PolicyLimits
from slarag.backends.pool.service import Objectives, ServiceModel
from slarag.backends.pool.simulator import SimulatedRun, Simulator
from slarag.backends.pool.trace import Arrival, load_trace

TOKEN = "bench"
QUANTILES = (0.5, 0.9, 0.99)
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
    """What the clients saw. ttfts and itls: by request. device_seconds: from command to gone."""

    engine: PoolEngine
    ttfts: list[float] = field(default_factory=list[float])
    itls: list[float] = field(default_factory=list[float])
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
        self.ttfts.append(times[0] - asked)
        self.itls.append((times[-1] - times[0]) / max(1, len(times) - 1))

    def met(self, objectives: Objectives) -> int:
        """Requests within both."""
        times = zip(self.ttfts, self.itls, strict=True)
        return sum(ttft <= objectives.ttft_s and itl <= objectives.itl_s for ttft, itl in times)

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
    """Of the time of all steps, how much they took too long; a last step on each device tells.

    A worker that was replaced has forgotten what its predecessor was late by: then the figures mean nothing, and so
    does this (infinity).
    """
    if engine.cluster.replaced:
        return float("inf")
    step = {"segments": [[-1, 0, [1], 0, [0]]], "sample": [None], "forget": [-1]}
    devices = list(engine.cluster.devices.values())
    late = [(await engine.cluster.tell(device, "step", **step))["late_seconds"] for device in devices]
    return sum(late) / max(engine.metrics.device_seconds, 1e-9)


def say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


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
        max_batch_tokens=args.chunk,
        max_sequences=args.batch,
        hang_seconds=30.0,
        standbys=2,
    )
    say("starting a pool")
    engine = await PoolEngine.start(options, max_waiting=100_000)
    try:
        trace = prepared(args)
        say("measuring its steps and resizes")
        model, figures = await calibrated(args, engine, device, trace)
        say(f"replaying {len(trace)} requests over {trace[-1].at:.0f} seconds")
        return await compare(args, engine, model, trace) | figures
    finally:
        await engine.aclose()


async def calibrated(
    args: argparse.Namespace, engine: PoolEngine, device: SimulatedDevice, trace: Sequence[Arrival]
) -> tuple[ServiceModel, dict[str, Any]]:
    """What the simulator takes a device and a resize to cost, and how that compares with measured steps."""
    up_s, down_s = await switch_seconds(engine, args.devices)
    say(f"a resize takes {up_s:.2f} s up and {down_s:.2f} s down")
    prompt = sum(arrival.input_tokens for arrival in trace) / len(trace)
    answer = sum(arrival.output_tokens for arrival in trace) / len(trace)
    cost = ProfiledCost(
        device=device,
        config=SERVED,
        dtype=engine.cluster.layout.dtype,
        prompt_tokens=prompt,
        context_tokens=prompt + answer / 2,
    )
    prompts = (args.chunk // 8, args.chunk // 2, args.chunk - args.batch)
    samples = await measure_steps(engine, prompts=prompts, batches=(1, args.batch // 2), rounds=1)
    model = ServiceModel(
        cost=cost.measured(samples),
        max_batch_tokens=args.chunk,
        max_sequences=args.batch,
        scale_up_s=up_s,
        scale_down_s=down_s,
    )
    ratios = [s.seconds / float(cost.seconds(s.prompt_tokens, s.answers, s.devices)) for s in samples]
    return model, {
        "measured_over_modelled_step": spread(ratios, ""),
        "scale_up_s": spread([up_s], "s"),
        "scale_down_s": spread([down_s], "s"),
    }


async def compare(
    args: argparse.Namespace, engine: PoolEngine, model: ServiceModel, trace: Sequence[Arrival]
) -> dict[str, Any]:
    """Replay live under the policy, and in the simulator."""
    objectives = Objectives(ttft_s=args.ttft, itl_s=args.itl)
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
    live = Live(engine)
    try:
        await live.replay(trace)
    finally:
        controlling.cancel()
        with suppress(asyncio.CancelledError):
            await controlling
        await driver.aclose()
    late = await late_share(engine)
    say("simulating the same")
    simulator = Simulator(model, objectives, trace, devices=args.devices, standbys=2, interval_s=args.interval)
    simulated = simulator.run(ForecastPolicy(model, objectives, limits))
    met = share(live.met(objectives), len(live.ttfts))
    return {
        "live_attainment": met,
        "simulator_attainment": share(round(simulated.attainment * simulated.requests), simulated.requests),
        "difference_points": spread([100 * abs(met["value"] - simulated.attainment)], "points"),
        "live_device_seconds": spread([live.device_seconds], "s"),
        "simulator_device_seconds": spread([simulated.device_seconds], "s"),
        "live_peak_devices": spread([float(live.peak)], ""),
        "simulator_peak_devices": spread([float(simulated.peak_devices)], ""),
        **quantiles(live, simulated),
        "late_share": spread([late], "share"),
    }


def quantiles(live: Live, simulated: SimulatedRun) -> dict[str, Any]:
    """Of the times to the first token, and of each request's mean time between tokens."""
    pairs = {"ttft": (live.ttfts, simulated.ttfts), "itl": (live.itls, simulated.itls)}
    return {
        f"{side}_{name}_p{round(100 * q)}_s": spread([float(np.quantile(values, q))], "s")
        for name, sides in pairs.items()
        for q in QUANTILES
        for side, values in zip(("live", "simulator"), sides, strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the trace")
    parser.add_argument("--speedup", type=float, default=4.0, help="seconds of the trace in one second")
    parser.add_argument("--shorten", type=int, default=8, help="requests have so many times fewer tokens")
    parser.add_argument("--device", default="ascend_910b", help="a shipped profile or a file")
    parser.add_argument("--slowdown", type=float, default=10.0, help="seconds here for one of the device's")
    parser.add_argument("--chunk", type=int, default=128, help="tokens of a step")
    parser.add_argument("--batch", type=int, default=32, help="sequences of a device")
    parser.add_argument("--devices", type=int, default=2, help="at the start")
    parser.add_argument("--ceiling", type=int, default=8)
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between decisions")
    parser.add_argument("--ttft", type=float, default=2.5, help="objective, seconds here")
    parser.add_argument("--itl", type=float, default=0.4, help="objective, seconds here")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(args, Path(folder)))
    workload = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    show(document({"simulated": True, **workload, "trace": args.trace.name}, figures), as_json=args.json)


if __name__ == "__main__":
    main()
