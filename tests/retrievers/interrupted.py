"""Run as a process by the tests: builds an index and is stopped in the middle, one way or another."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

from slarag.retrievers.embedder import Embedder
from slarag.retrievers.index import build_index, shards
from slarag.retrievers.ranking import Scores
from slarag.sla.errors import SlaragError

from .parts import HashEncoder


class Fatal(HashEncoder):
    """Kills its process when it has encoded `texts` texts."""

    def __init__(self, texts: int) -> None:
        super().__init__()
        self.left = texts

    def encode(self, texts: list[str]) -> Scores:
        self.left -= len(texts)
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(texts)


def main(how: str, limit: str, sources: str, folder: str) -> None:
    """`kill` after `limit` texts, or refuse files of more than `limit` bytes."""
    shards.ShardedVectors.__init__.__kwdefaults__["shard"] = 8
    encoder = Fatal(int(limit)) if how == "kill" else HashEncoder()
    if how == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    try:
        build_index([Path(sources)], Path(folder), embedder=Embedder(encoder))
    except SlaragError as error:
        print(f"{type(error).__name__}: {error}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
