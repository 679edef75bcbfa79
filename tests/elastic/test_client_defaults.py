"""What OpenAI's and vLLM's clients send without being told to: it is taken, and what is not served says its name."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from slarag.backends.elastic.cluster.options import PoolOptions
from slarag.backends.elastic.cluster.reader_options import ReaderOptions
from slarag.backends.elastic.http.app import build_app
from slarag.backends.elastic.models.random_model import make_tokenizer
from slarag.backends.elastic.serve.engine import PoolEngine
from slarag.backends.elastic.serve.reading import ReadingEngine
from slarag.backends.elastic.serve.tokenizer import PoolTokenizer

# The sampling parameters of vLLM 0.33 as its clients write them out.
VLLM_DEFAULTS: dict[str, Any] = {
    "n": 1,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "seed": None,
    "stop": None,
    "stop_token_ids": [],
    "ignore_eos": False,
    "min_tokens": 0,
    "logit_bias": {},
    "length_penalty": 1.0,
    "use_beam_search": False,
    "include_stop_str_in_output": False,
    "skip_special_tokens": True,
    "spaces_between_special_tokens": True,
    "truncate_prompt_tokens": None,
    "prompt_logprobs": None,
    "response_format": {"type": "text"},
    "user": "somebody",
}
COMPLETION = VLLM_DEFAULTS | {"best_of": 1, "echo": False, "suffix": None, "logprobs": None, "add_special_tokens": True}
CHAT = VLLM_DEFAULTS | {
    "logprobs": False,
    "top_logprobs": 0,
    "add_special_tokens": False,
    "add_generation_prompt": True,
    "continue_final_message": False,
}
MESSAGES = [{"role": "user", "content": "grow"}]
READ = "The lighthouse is called Pharos, and stood near the harbour.\n\nWhat is the lighthouse called?"


@pytest.fixture(scope="module")
def engine(tiny_folder: Path, runner: asyncio.Runner) -> Generator[PoolEngine]:
    sizes: dict[str, Any] = {"page_bytes": 4096, "kv_blocks": 64, "block_tokens": 8, "max_batch_tokens": 32}
    made = runner.run(PoolEngine.start(PoolOptions(model=tiny_folder, standbys=0, hang_seconds=20.0, **sizes)))
    yield made
    runner.run(made.aclose())


@pytest.fixture(scope="module")
def client(engine: PoolEngine) -> httpx.AsyncClient:
    return _client(engine)


@pytest.fixture(scope="module")
def reader(runner: asyncio.Runner) -> Generator[httpx.AsyncClient]:
    made = runner.run(ReadingEngine.start(ReaderOptions(standbys=0, hang_seconds=20.0)))
    yield _client(made)
    runner.run(made.aclose())


def _client(engine: PoolEngine | ReadingEngine) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=build_app(engine, model="tiny", token=None))
    return httpx.AsyncClient(transport=transport, base_url="http://pool")


def ask(runner: asyncio.Runner, client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    reply = runner.run(client.post(path, json=body))
    assert reply.status_code == 200, reply.text
    return reply.json()


def refused(runner: asyncio.Runner, client: httpx.AsyncClient, path: str, **body: Any) -> str:
    reply = runner.run(client.post(path, json=body))
    assert reply.status_code == 400, reply.text
    return reply.json()["error"]["param"]


def test_written_out_defaults_change_nothing(runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
    plain: dict[str, Any] = {"prompt": "grow", "max_tokens": 6, "temperature": 0}
    texts = [
        ask(runner, client, "/v1/completions", **body)["choices"][0]["text"] for body in (plain, COMPLETION | plain)
    ]
    assert texts[0] == texts[1]
    chat: dict[str, Any] = {"messages": MESSAGES, "max_tokens": 6, "temperature": 0}
    answers = [ask(runner, client, "/v1/chat/completions", **body) for body in (chat, CHAT | chat)]
    assert answers[0]["choices"][0]["message"] == answers[1]["choices"][0]["message"]
    assert answers[0]["usage"]["prompt_tokens"] == answers[1]["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("best_of", 3),
        ("echo", True),
        ("suffix", "end"),
        ("logit_bias", {"5": 1.0}),
        ("min_tokens", 2),
        ("length_penalty", 1.2),
        ("repetition_penalty", 1.1),
        ("use_beam_search", True),
        ("include_stop_str_in_output", True),
        ("skip_special_tokens", False),
        ("truncate_prompt_tokens", 3),
        ("prompt_logprobs", 1),
        ("min_p", 1.5),
        ("top_k", -2),
    ],
)
def test_other_values_are_refused_by_name(
    runner: asyncio.Runner, client: httpx.AsyncClient, field: str, value: Any
) -> None:
    assert refused(runner, client, "/v1/completions", prompt="a", **{field: value}) == field


def test_as_many_as_wanted_is_no_choice_among_more(runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
    assert len(ask(runner, client, "/v1/completions", prompt="a", n=2, best_of=2, max_tokens=2)["choices"]) == 2


def test_a_stop_token_ends_the_answer_and_is_no_part_of_its_text(
    engine: PoolEngine, runner: asyncio.Runner, client: httpx.AsyncClient
) -> None:
    body: dict[str, Any] = {"prompt": "grow", "max_tokens": 8, "temperature": 0, "ignore_eos": True, "logprobs": 0}
    whole = ask(runner, client, "/v1/completions", **body)["choices"][0]
    names = whole["logprobs"]["tokens"]
    token = next(t for t in range(320) if engine.tokenizer.name_of(t) == names[3])
    first = names.index(names[3])
    cut = ask(runner, client, "/v1/completions", **body, stop_token_ids=[token])["choices"][0]
    assert cut["finish_reason"] == "stop"
    assert whole["text"].startswith(cut["text"])
    assert len(cut["logprobs"]["tokens"]) == first + 1


def test_min_p_leaves_only_what_is_nearly_as_likely(runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {"prompt": "grow", "max_tokens": 6}
    greedy = ask(runner, client, "/v1/completions", **body, temperature=0)["choices"][0]["text"]
    drawn = ask(runner, client, "/v1/completions", **body, temperature=1.0, seed=3, min_p=1.0)["choices"][0]["text"]
    assert drawn == greedy


def test_what_is_cached_of_a_shared_prompt_counts_once(runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {"prompt": list(range(30, 54)), "max_tokens": 2, "n": 4}
    ask(runner, client, "/v1/completions", **body)
    usage = ask(runner, client, "/v1/completions", **body)["usage"]
    assert usage["prompt_tokens"] == 24
    assert 0 < usage["prompt_tokens_details"]["cached_tokens"] <= 24


def test_chats_are_numbered_as_chats(runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
    assert ask(runner, client, "/v1/chat/completions", messages=MESSAGES, max_tokens=1)["id"].startswith("chatcmpl-")
    assert ask(runner, client, "/v1/completions", prompt="a", max_tokens=1)["id"].startswith("cmpl-")


def test_top_logprobs_need_logprobs(runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {"messages": MESSAGES, "max_tokens": 1, "top_logprobs": 2}
    assert refused(runner, client, "/v1/chat/completions", **body) == "top_logprobs"
    assert refused(runner, client, "/v1/chat/completions", **body, logprobs=False) == "top_logprobs"
    ask(runner, client, "/v1/chat/completions", **body, logprobs=True)


def test_bytes_of_a_token_are_its_own_also_where_they_are_a_part_of_a_character(tmp_path: Path) -> None:
    make_tokenizer(320).save(str(tmp_path / "tokenizer.json"))
    tokenizer = PoolTokenizer.open(tmp_path)
    for text in ("é€😀", "a <b>\n\t", "\x00\x7f"):
        assert b"".join(tokenizer.bytes_of(token) for token in tokenizer.encode(text)) == text.encode()
    parts = [tokenizer.bytes_of(token) for token in tokenizer.encode("é")]
    assert parts == [b"\xc3", b"\xa9"]
    assert tokenizer.bytes_of(tokenizer.encode("<|im_start|>")[0]) == b"<|im_start|>"


def test_logprobs_of_a_chat_tell_those_bytes(
    engine: PoolEngine, runner: asyncio.Runner, client: httpx.AsyncClient
) -> None:
    body: dict[str, Any] = {"messages": MESSAGES, "max_tokens": 12, "logprobs": True, "top_logprobs": 20, "seed": 1}
    [choice] = ask(runner, client, "/v1/chat/completions", **body, ignore_eos=True)["choices"]
    entries = [entry for each in choice["logprobs"]["content"] for entry in (each, *each["top_logprobs"])]
    partial = [entry for entry in entries if entry["token"] == "\ufffd"]
    assert partial
    assert all(len(entry["bytes"]) == 1 and entry["bytes"][0] >= 0x80 for entry in partial)


def test_tokenize_takes_texts_and_chats(runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
    told = ask(runner, client, "/tokenize", prompt="grow", add_special_tokens=False, return_token_strs=True)
    assert "".join(told["token_strs"]) == "grow"
    prompt = ask(runner, client, "/v1/chat/completions", messages=MESSAGES, max_tokens=1)["usage"]["prompt_tokens"]
    assert ask(runner, client, "/tokenize", messages=MESSAGES)["count"] == prompt
    bare = ask(runner, client, "/tokenize", messages=MESSAGES, add_generation_prompt=False, add_special_tokens=False)
    assert bare["count"] < prompt
    assert refused(runner, client, "/tokenize") == "prompt"
    assert refused(runner, client, "/tokenize", prompt="a", messages=MESSAGES) == "prompt"


@pytest.mark.parametrize("content", ['{"prompt": "a"', "nonsense", ""])
def test_a_body_that_is_not_json_is_named_as_such(
    runner: asyncio.Runner, client: httpx.AsyncClient, content: str
) -> None:
    headers = {"content-type": "application/json"}
    reply = runner.run(client.post("/v1/completions", content=content, headers=headers))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "body")


def test_a_reader_takes_them_too(runner: asyncio.Runner, reader: httpx.AsyncClient) -> None:
    plain = ask(runner, reader, "/v1/completions", prompt=READ)["choices"][0]["text"]
    assert "Pharos" in plain
    sent: dict[str, Any] = {"temperature": 0.7, "seed": 3, "top_k": 40, "prompt": [READ]}
    assert ask(runner, reader, "/v1/completions", **(COMPLETION | sent))["choices"][0]["text"] == plain
    cut = ask(runner, reader, "/v1/completions", prompt=READ, stop=["ros", "nowhere"])["choices"][0]
    assert cut["text"] == plain[: plain.index("ros")]
    assert refused(runner, reader, "/v1/completions", prompt=READ, logprobs=2) == "logprobs"
    assert refused(runner, reader, "/v1/completions", prompt=READ, echo=True) == "echo"


def test_a_reader_tokenizes_with_and_without_the_frame(runner: asyncio.Runner, reader: httpx.AsyncClient) -> None:
    bare = ask(runner, reader, "/tokenize", prompt="a bridge")["tokens"]
    framed = ask(runner, reader, "/tokenize", prompt="a bridge", add_special_tokens=True)["tokens"]
    assert framed[1:-1] == bare
    assert refused(runner, reader, "/tokenize", messages=MESSAGES) == "messages"
