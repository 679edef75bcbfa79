"""Prints the benchmark's document as JSON.

python -m slarag.backends.elastic.resize_bench MODEL --from 2 --to 3
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .run import run
from .settings import PARTS, BenchSettings


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure a resize under load against a cold restart.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--from", dest="size", type=int, default=2)
    parser.add_argument("--to", dest="target", type=int, default=3)
    defaults = BenchSettings(model=Path())
    for name in ("clients", "answer_tokens", "long_tokens", "kv_blocks", "standbys", "repeats", "warm_seconds"):
        default = getattr(defaults, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    parser.add_argument("--only", dest="parts", nargs="+", choices=PARTS, default=PARTS)
    json.dump(run(BenchSettings(**vars(parser.parse_args(arguments)))), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
