"""The command line, `slarag`: one file a command, each of which loads what it needs only when it is called."""

from __future__ import annotations

from .app import main

__all__ = ["main"]
