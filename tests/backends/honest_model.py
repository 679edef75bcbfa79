"""A model that reads its prompt and answers by word overlap, in the JSON that the prompt asks for."""

from __future__ import annotations

import json
import re

_FENCED = re.compile(r"<<(\w+) passage (\d+)>>\n(?:Title: [^\n]*\n)?(.*?)\n<<\1 end>>", re.DOTALL)
_TELLING = re.compile(r"\b(?:[A-Z]\w+|\d[\w.]*\w|\d)\b")
_COMMON = frozenset({"the", "it", "of", "on", "in", "a", "an", "did", "which", "who", "what", "when", "is", "was"})


def reply_to(system: str, user: str) -> str:
    """The reply to any of the three kinds of prompt."""
    passages = {int(number): text for _, number, text in _FENCED.findall(user)}
    if '"label"' in system:
        return _verdict(user, passages)
    if '"answers"' in system:
        return _answer(system, user, passages)
    return "Pharos is an island."


def _verdict(user: str, passages: dict[int, str]) -> str:
    claim = _words(re.findall(r"Claim:(.*)", user)[0].replace("the answer is:", ""))
    is_said = any(claim <= _words(text) for text in passages.values())
    label, probability = ("supported", 0.9) if is_said else ("not_enough", 0.7)
    return json.dumps({"label": label, "probability": probability})


def _answer(system: str, user: str, passages: dict[int, str]) -> str:
    asked = _words(user.partition("\n")[0])
    sentences = [
        (len(asked & _words(sentence)), -number, sentence)
        for number, text in passages.items()
        for sentence in re.split(r"(?<=\.)\s", text)
    ]
    overlap, number, sentence = max(sentences, default=(0, 0, ""))
    if overlap == 0:
        return json.dumps({"answers": [], "no_answer": 1})
    texts = _texts(system, asked, sentence)
    evidence = [{"passage": -number, "quote": sentence}]
    answers = [
        {"answer": text, "evidence": evidence, "probability": round(0.8 / (at + 1) ** 2, 3)}
        for at, text in enumerate(texts)
    ]
    return json.dumps({"answers": answers, "no_answer": 0.1}, ensure_ascii=False)


def _texts(system: str, asked: set[str], sentence: str) -> list[str]:
    if '"yes" or "no"' in system:
        return ["yes"]
    if "one or two sentences" in system:
        return [sentence]
    return [word for word in _TELLING.findall(sentence) if word.lower() not in asked | _COMMON]


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower())) - _COMMON
