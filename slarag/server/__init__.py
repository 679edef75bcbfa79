"""The HTTP gateway: one index and its engine behind four routes. Needs the extra `serve`."""

from __future__ import annotations

from .app import create_app

__all__ = ["create_app"]
