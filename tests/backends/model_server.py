"""A real HTTP server on loopback that speaks `/v1/chat/completions`, well or badly."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from tests.backends.honest_model import reply_to

Mode = Literal[
    "honest",
    "no_usage",
    "stall",
    "hang_mid_body",
    "endless_body",
    "endless_stream",
    "cut_stream",
    "error_event",
    "malformed",
    "wrong_shape",
    "null_content",
    "huge",
    "redirect",
    "rate_limited",
    "overloaded",
    "unauthorised",
]
_REFUSALS = {"rate_limited": 429, "overloaded": 503, "unauthorised": 401}
_USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
_FULL = {
    "malformed": b'{"choices": [',
    "wrong_shape": b'{"choices": {"message": "hello"}}',
    "null_content": b'{"choices": [{"message": {"content": null}}]}',
    "huge": b" " * (9 * 1024 * 1024),
}
METRICS = """# HELP vllm:num_requests_running Number of requests running.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="honest"} 3.0
vllm:num_requests_running{engine="1",model_name="honest"} 1.0
vllm:num_requests_waiting{engine="0",model_name="honest"} 7.0
vllm:num_requests_waiting_by_reason{reason="capacity"} 9.0
vllm:e2e_request_latency_seconds_sum NaN
"""


class ModelServer(ThreadingHTTPServer):
    """mode: how it behaves now. heeds_schema: whether `response_format` does anything. requests: bodies and headers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mode: Mode = "honest"
        self.heeds_schema = True
        self.metrics: str | None = METRICS
        self.device_seconds: float | None = None
        self.requests: list[tuple[dict[str, Any], dict[str, str]]] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are expected here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ModelServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._send(json.dumps({"object": "list", "data": [{"id": "honest"}, {"id": "honest-large"}]}).encode())
        elif self.path == "/metrics" and self.server.metrics is not None:
            self._send(self.server.metrics.encode())
        else:
            self._send(b"{}", status=404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append((body, dict(self.headers)))
        mode = self.server.mode
        if mode in _REFUSALS:
            self._send(b'{"error": "sk-secret"}', status=_REFUSALS[mode], extra={"Retry-After": "7"})
        elif mode == "redirect":
            self._send(b"", status=307, extra={"Location": "http://127.0.0.1:9/steal"})
        elif mode in _FULL:
            self._send(_FULL[mode])
        elif mode == "stall":
            self.server.released.wait()
        elif body["stream"]:
            self._stream(self._text(body), mode)
        else:
            self._whole(self._text(body), mode)

    def _text(self, body: dict[str, Any]) -> str:
        *system, user = [message["content"] for message in body["messages"]]
        if "response_format" in body and self.server.heeds_schema and "heeded" in json.dumps(body):
            return '{"heeded": true}'
        return reply_to("".join(system), user)

    def _usage(self) -> dict[str, Any]:
        if self.server.mode == "no_usage":
            return {}
        seconds = self.server.device_seconds
        return {"usage": _USAGE if seconds is None else {**_USAGE, "device_seconds": seconds}}

    def _whole(self, text: str, mode: Mode) -> None:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        raw = json.dumps({"choices": [choice], **self._usage()}).encode()
        if mode == "hang_mid_body":
            self._open(len(raw))
            self.wfile.write(raw[: len(raw) // 2])
            self.server.released.wait()
        elif mode == "endless_body":
            self._open(None)
            self._write_for_ever(b" " * 64)
        else:
            self._send(raw)

    def _stream(self, text: str, mode: Mode) -> None:
        self._open(None)
        half = len(text) // 2
        self._event({"choices": [{"index": 0, "delta": {"role": "assistant"}}]})
        self._event({"choices": [{"index": 0, "delta": {"content": text[:half]}}]})
        if mode == "endless_stream":
            event = json.dumps({"choices": [{"index": 0, "delta": {"content": "more "}}]}).encode()
            self._write_for_ever(b"data: " + event + b"\n\n")
        elif mode == "hang_mid_body":
            self.server.released.wait()
        elif mode == "error_event":
            self._event({"error": {"message": "out of memory"}})
        elif mode != "cut_stream":
            self.wfile.write(b": keep-alive\n\n")
            self._event({"choices": [{"index": 0, "delta": {"content": text[half:]}, "finish_reason": "stop"}]})
            self._event({"choices": [], **self._usage()})
            self.wfile.write(b"data: [DONE]\n\n")

    def _write_for_ever(self, piece: bytes) -> None:
        while not self.server.released.wait(0.005):
            self.wfile.write(piece)

    def _event(self, event: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.flush()

    def _open(self, length: int | None) -> None:
        self.send_response(200)
        if length is None:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(self, raw: bytes, status: int = 200, extra: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **(extra or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)


@contextmanager
def serving() -> Iterator[ModelServer]:
    """A server in a thread; on leaving, whatever it holds back is let go."""
    server = ModelServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
