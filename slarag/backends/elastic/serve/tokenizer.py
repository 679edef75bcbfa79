"""Text to tokens, and a chat to the text that the model was trained on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer, decoders

from ..errors import CheckpointError, RequestError

if TYPE_CHECKING:
    from jinja2 import Template

_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _letters_of_bytes() -> dict[str, int]:
    """Byte by the letter that stands for it in byte-level BPE: printable ones for themselves, others from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}


_BYTES = _letters_of_bytes()


@dataclass(frozen=True, slots=True)
class PoolTokenizer:
    """A model folder's tokenizer and chat template."""

    tokens: Tokenizer
    template: Template

    @classmethod
    def open(cls, folder: Path) -> PoolTokenizer:
        """Read `tokenizer.json` and the chat template (ChatML if there is none); raises `CheckpointError`."""
        file = folder / "tokenizer.json"
        if not file.exists():
            raise CheckpointError(f"no tokenizer.json in {str(folder)!r}", remedy="add the model's tokenizer.json")
        try:
            return cls(Tokenizer.from_file(str(file)), _template(folder))
        except Exception as error:  # the tokenizers library raises nothing narrower
            raise CheckpointError(
                f"cannot read the tokenizer in {str(folder)!r}: {error}", remedy="download its files again"
            ) from error

    def encode(self, text: str, *, framed: bool = True) -> list[int]:
        """Text to tokens. framed: with those that the tokenizer puts around a text."""
        # As a batch of one, for which other threads may run meanwhile.
        return self.tokens.encode_batch([text], add_special_tokens=framed)[0].ids

    def encode_chat(
        self, messages: list[dict[str, Any]], *, begins_answer: bool = True, framed: bool = False
    ) -> list[int]:
        """A chat to tokens; raises `RequestError` when the template refuses it.

        begins_answer: the template's start of an answer follows the messages.
        """
        from jinja2 import TemplateError

        try:
            text = self.template.render(messages=messages, add_generation_prompt=begins_answer)
        except TemplateError as error:
            raise RequestError(f"the chat template refuses this: {error}", param="messages") from error
        return self.encode(text, framed=framed)

    def name_of(self, token: int) -> str:
        """A token as text, for log-probabilities."""
        return self.tokens.decode([token], skip_special_tokens=False)

    def bytes_of(self, token: int) -> bytes:
        """What a token stands for, which may be a part of a character only."""
        written = self.tokens.id_to_token(token) or ""
        if isinstance(self.tokens.decoder, decoders.ByteLevel) and all(letter in _BYTES for letter in written):
            return bytes(_BYTES[letter] for letter in written)
        return self.name_of(token).encode()


def _template(folder: Path) -> Template:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    source = _CHATML
    config = folder / "tokenizer_config.json"
    if config.exists():
        source = json.loads(config.read_text(encoding="utf-8")).get("chat_template") or source
    separate = folder / "chat_template.jinja"
    if separate.exists():
        source = separate.read_text(encoding="utf-8")
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)

    def refuse(message: str) -> None:
        raise RequestError(message, param="messages")

    return environment.from_string(source, globals={"raise_exception": refuse})
