"""The reader's weights on disk: what fine-tuning changed, as safetensors, beside a small JSON with its thresholds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ...sla.errors import ConfigurationError
from .config import EncoderConfig
from .dynamic import DynamicLayer
from .experts import RoutedFeedForward
from .linear import Linear
from .model import Reader
from .parent import PARENT_NAME, load_parent_weights
from .storage import Storage, packed, unpacked

SHIPPED_DENSE = Path(__file__).parent / "weights"
"""The dense reader, which the mixture was made from."""
SHIPPED = Path(__file__).parent / "weights_moe"
"""The reader as a mixture of experts, which reads within a compute budget; used where no other is asked for."""
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ReaderSettings:
    """Numbers fitted after training.

    null_weights: bias, weight of the span head's log odds, weight of the answerability logit: their sum is the logit of
    "this passage answers". rank_exponent: the prior of the passage at rank r is (r + 1) ** -rank_exponent.
    answer_threshold: the probability of an answer that the model card's scores abstain under; in an engine the
    profile's confidence decides instead.
    """

    null_weights: tuple[float, float, float] = (0.0, 0.5, 0.5)
    rank_exponent: float = 0.0
    answer_threshold: float = 0.5


def save_reader(model: Reader, settings: ReaderSettings, folder: Path, *, storage: Storage = "bfloat16") -> None:
    """Write the trained tensors (the parent's embeddings are left out) and `reader.json` to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(packed(model.stored(), storage), folder / "reader.safetensors")
    head = {
        "format": FORMAT,
        "parent": PARENT_NAME,
        "config": model.encoder.config.to_dict(),
        "settings": asdict(settings),
    }
    (folder / "reader.json").write_text(json.dumps(head, indent=1) + "\n", encoding="utf-8")


def load_reader(folder: Path | None = None, *, parent: Path | None = None) -> tuple[Reader, ReaderSettings]:
    """The reader of `folder` (the shipped one by default) in float32, in evaluation mode.

    Raises `ConfigurationError` when the folder holds no reader of this format.
    """
    folder = folder or SHIPPED
    head = read_head(folder)
    try:
        tensors = load_file(folder / "reader.safetensors")
    except (OSError, ValueError) as error:
        raise _no_reader(folder, error) from error
    model = build_reader(head)
    parent_weights = load_parent_weights(parent)
    embeddings = {f"encoder.{name}": value for name, value in parent_weights.items() if name.startswith("embeddings.")}
    model.load_state_dict({**embeddings, **unpacked(tensors)})
    return model.eval(), settings_of(head)


def read_head(folder: Path) -> dict[str, Any]:
    """What `reader.json` in `folder` says; raises `ConfigurationError` when it holds no reader of this format."""
    try:
        raw = json.loads((folder / "reader.json").read_text(encoding="utf-8"))
        if not isinstance(raw, dict):
            raise ValueError("reader.json is not an object")
    except (OSError, ValueError) as error:
        raise _no_reader(folder, error) from error
    head = cast("dict[str, Any]", raw)
    if head.get("format") != FORMAT:
        raise ConfigurationError(
            f"the reader in {str(folder)!r} has format {head.get('format')!r}, not {FORMAT}",
            remedy="train it again with this version",
        )
    return head


def reads_within_budget(folder: Path | None = None) -> bool:
    """Whether the reader of `folder` (the shipped one by default) can leave out a part of its compute."""
    return EncoderConfig.from_dict(read_head(folder or SHIPPED)["config"]).skip != "none"


def build_reader(head: dict[str, Any]) -> Reader:
    """A reader of the shape that a head states; its weights are to be loaded."""
    return Reader(EncoderConfig.from_dict(head["config"]))


def settings_of(head: dict[str, Any]) -> ReaderSettings:
    """The fitted numbers of a head."""
    fitted: dict[str, Any] = head["settings"]
    return replace(ReaderSettings(**fitted), null_weights=tuple(fitted["null_weights"]))


def _no_reader(folder: Path, error: Exception) -> ConfigurationError:
    return ConfigurationError(f"no reader in {str(folder)!r} ({error})", remedy="train one with: slarag train reader")


def use_bfloat16(model: Reader) -> None:
    """Hold the matrices of the layers in bfloat16; norms and the residual stream stay float32 (run under autocast)."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | RoutedFeedForward) and not name.endswith(".router"):
            module.to(torch.bfloat16)


def pack(model: Reader) -> None:
    """Lay the bfloat16 matrices out as this processor multiplies them fastest; the model can only read from then on."""
    for module in model.modules():
        if isinstance(module, Linear):
            module.pack()
    for module in model.modules():
        if isinstance(module, DynamicLayer | RoutedFeedForward):
            module.pack()
