"""A pool of readers as a process that serves for its starter: `python -m slarag.backends.elastic.http.process`.

It prints one line of JSON, with its `url` or its `error`, and ends in good order when its standard input does. The
control token comes in the environment, where no list of processes shows it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path

from ....sla.errors import SlaragError
from ..cluster.reader_options import ReaderOptions
from .serve import serve_pool

TOKEN = "SLARAG_POOL_TOKEN"


def main() -> int:
    """Serve; returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    for name in ("devices", "threads", "standbys"):
        parser.add_argument(f"--{name}", type=int, default=1)
    args = parser.parse_args()
    model = {} if args.model is None else {"model": args.model}
    options = ReaderOptions(devices=args.devices, threads=args.threads, standbys=args.standbys, **model)
    token = os.environ.pop(TOKEN, None)
    threading.Thread(target=_end_with_starter, daemon=True).start()
    try:
        asyncio.run(serve_pool(options, token=token, port=0, on_ready=lambda url: _tell({"url": url})))
    except SlaragError as error:
        _tell({"error": error.message, "remedy": error.remedy})
        return 1
    return 0


def _end_with_starter() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _tell(message: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
