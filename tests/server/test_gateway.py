"""The gateway over a real engine, with a scripted model at its edge."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from slarag.engine import Engine
from slarag.server import create_app
from slarag.server.bounds import MAX_BODY_BYTES
from slarag.sla.errors import BackendTimeoutError, BackendUnavailableError, CostCapError, StorageError
from slarag.sla.evidence import Passage
from tests.fakes import FixedClassifier, PassageList, ScriptedBackend

PASSAGES = [
    Passage(passage_id="a#0", document_id="a", title="Titan", text="Christiaan Huygens discovered Titan in 1655."),
    Passage(passage_id="b#0", document_id="b", title="Mars", text="Rust colours Mars red."),
]


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
def engine(backend: ScriptedBackend) -> Iterator[Engine]:
    sources = {passage.document_id: passage.text for passage in PASSAGES}
    with Engine.open(PassageList(PASSAGES, sources), backend=backend, classifier=FixedClassifier()) as engine:
        yield engine


@pytest.fixture
def client(engine: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(engine), base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


def test_health(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}


def test_ask_gives_the_answer_with_its_report(client: TestClient) -> None:
    reply = client.post("/v1/ask", json={"question": "Who discovered Titan?", "profile": "thorough"})
    assert reply.status_code == 200
    answer = reply.json()
    assert answer["schema"] == 1
    assert answer["profile"] == "thorough"
    assert answer["best_text"]
    assert {result["objective"] for result in answer["report"]} >= {"latency", "cost"}


def test_a_plan_may_be_forced(client: TestClient, backend: ScriptedBackend) -> None:
    plan = {"replicas": 2, "arbitration": "majority", "passages": 2}
    reply = client.post("/v1/ask", json={"question": "Who discovered Titan?", "plan": plan})
    assert reply.json()["decisions"][0]["plan"]["replicas"] == 2
    assert len(backend.answered) == 2


def test_explain_runs_nothing(client: TestClient, backend: ScriptedBackend) -> None:
    explained = client.post("/v1/explain", json={"question": "Who discovered Titan?"}).json()
    assert explained["decision"]["plan"]
    assert explained["intent"]["factoid"] == 1
    assert backend.answered == []


def test_profiles_are_listed(client: TestClient) -> None:
    listed = client.get("/v1/profiles").json()["profiles"]
    assert [profile["name"] for profile in listed] == ["fast", "balanced", "thorough", "safe"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"question": " "}, 400, "question"),
        ({"question": "x" * 30_000}, 400, "question"),
        ({"question": "x" * 200_000}, 422, "request"),
        ({"question": "why?", "profile": "../../etc/passwd"}, 400, "profile"),
        ({"question": "why?", "plan": {"hopps": 2}}, 400, "plan"),
        ({"question": "why?", "plan": {"hops": 99}}, 400, "plan"),
        ({"question": "why?", "plan": {"hops": "two"}}, 400, "plan"),
        ({"question": "why?", "profil": "fast"}, 422, "request"),
        ({}, 422, "request"),
        ({"question": "x" * (MAX_BODY_BYTES + 1)}, 413, "request"),
    ],
)
def test_a_wrong_request_is_told_why(client: TestClient, body: dict[str, object], status: int, code: str) -> None:
    reply = client.post("/v1/ask", json=body)
    assert reply.status_code == status
    error = reply.json()["error"]
    assert error["code"] == code
    assert error["message"]
    assert error["remedy"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BackendTimeoutError("late"), 504),
        (BackendUnavailableError("gone"), 503),
        (CostCapError("dear"), 402),
        (StorageError("full"), 500),
        (ZeroDivisionError("secret detail"), 500),
    ],
)
def test_a_failure_has_a_status_of_its_kind(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(engine, "aask", fails)
    reply = client.post("/v1/ask", json={"question": "why?"})
    assert reply.status_code == status
    assert "secret" not in reply.text


def test_a_token_is_asked_for(engine: Engine) -> None:
    with TestClient(create_app(engine, token="s3cret"), base_url="http://localhost") as client:
        assert client.get("/health").status_code == 200
        assert client.get("/v1/profiles").status_code == 401
        assert client.get("/v1/profiles", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/v1/profiles", headers={"Authorization": "Bearer s3cret"}).status_code == 200


def test_a_name_bound_to_this_machine_by_others_is_refused(engine: Engine) -> None:
    with TestClient(create_app(engine), base_url="http://attacker.example") as client:
        assert client.get("/health").status_code == 400
