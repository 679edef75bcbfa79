"""The gateway's routes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ..engine import Engine
from ..sla.errors import ProfileError
from ..sla.plan import Plan
from ..sla.profile import load_profile, shipped_profiles
from .bounds import BodyLimit
from .errors import install_error_handlers
from .schemas import AskRequest, QuestionRequest

LOCAL = ("localhost", "127.0.0.1", "[::1]")


def create_app(engine: Engine, *, token: str | None = None, hosts: Sequence[str] = LOCAL) -> FastAPI:
    """The gateway over `engine`, which the caller opens and closes.

    token: what callers must send as `Authorization: Bearer`; None lets everyone in. hosts: names that this gateway
    answers to, so that a page which rebinds its own name to a loopback address is refused.
    """
    app = FastAPI(title="slarag", docs_url="/docs", redoc_url=None)
    app.add_middleware(BodyLimit)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    install_error_handlers(app)
    allowed = [Depends(_bearer(token))]

    @app.post("/v1/ask", dependencies=allowed)
    async def ask(request: AskRequest) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction] - a route
        """Answer a question; an abstention is an answer."""
        plan = None if request.plan is None else Plan.from_dict(request.plan)
        return (await engine.aask(request.question, _shipped(request.profile), plan=plan)).to_dict()

    @app.post("/v1/explain", dependencies=allowed)
    async def explain(request: QuestionRequest) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction] - a route
        """The decision for a question, without running it."""
        intent = await engine.aclassify(request.question)
        decision = await engine.aexplain(request.question, _shipped(request.profile))
        return {
            "schema": 1,
            "question": request.question,
            "intent": dict(intent.probabilities),
            "decision": decision.to_dict(),
        }

    @app.get("/v1/profiles", dependencies=allowed)
    async def profiles() -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction] - a route
        """The profiles that a request may name."""
        return {"schema": 1, "profiles": [load_profile(name).model_dump() for name in shipped_profiles()]}

    @app.get("/health")
    async def health() -> dict[str, str]:  # pyright: ignore[reportUnusedFunction] - a route
        """Whether the gateway serves."""
        return {"status": "ok"}

    return app


def _bearer(token: str | None) -> Any:
    expected = f"Bearer {token}".encode()

    async def check(request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if token is not None and not secrets.compare_digest(given, expected):
            raise HTTPException(401, "a valid bearer token is needed", headers={"WWW-Authenticate": "Bearer"})

    return check


def _shipped(name: str | None) -> str | None:
    # A caller's text must never become a path of this machine.
    if name is not None and name not in shipped_profiles():
        raise ProfileError(f"no profile {name!r}", remedy=f"use one of {list(shipped_profiles())}")
    return name
