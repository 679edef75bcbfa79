"""Text to tokens, and a chat to the text that the model was trained on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from ..errors import CheckpointError, RequestError

if TYPE_CHECKING:
    from jinja2 import Template

_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


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
        return cls(Tokenizer.from_file(str(file)), _template(folder))

    def encode(self, text: str) -> list[int]:
        """Text to tokens."""
        return self.tokens.encode(text).ids

    def encode_chat(self, messages: list[dict[str, Any]]) -> list[int]:
        """A chat to tokens; raises `RequestError` when the template refuses it."""
        from jinja2 import TemplateError

        try:
            text = self.template.render(messages=messages, add_generation_prompt=True)
        except TemplateError as error:
            raise RequestError(f"the chat template refuses this: {error}", param="messages") from error
        return self.tokens.encode(text, add_special_tokens=False).ids

    def name_of(self, token: int) -> str:
        """A token as text, for log-probabilities."""
        return self.tokens.decode([token], skip_special_tokens=False)


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
