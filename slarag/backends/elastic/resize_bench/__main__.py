"""Prints the benchmark's document as JSON.

python -m slarag.backends.elastic.resize_bench MODEL --from 2 --to 3
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from ..pacing import SimulatedDevice, load_device_profile
from .run import run
from .settings import DEVICE, PARTS, TIME_SCALE, BenchSettings

_SETTINGS = ("clients", "answer_tokens", "long_tokens", "kv_blocks", "standbys", "repeats", "warm_seconds")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure a resize under load against a cold restart.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--from", dest="size", type=int, default=2)
    parser.add_argument("--to", dest="target", type=int, default=3)
    defaults = {each.name: each.default for each in fields(BenchSettings)}
    for name in _SETTINGS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(defaults[name]), default=defaults[name])
    parser.add_argument("--device", default=DEVICE, help="a profile's name or file, for the simulated part")
    parser.add_argument("--time-scale", type=float, default=TIME_SCALE)
    parser.add_argument("--only", dest="parts", nargs="+", choices=PARTS, default=PARTS)
    given = vars(parser.parse_args(arguments))
    device = SimulatedDevice(profile=load_device_profile(given.pop("device")), time_scale=given.pop("time_scale"))
    json.dump(run(BenchSettings(simulated=device, **given)), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
