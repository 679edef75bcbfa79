"""Which weights exactly: what an index and the intent classifier know their embedder by."""

from __future__ import annotations

import hashlib
from pathlib import Path

_FINGERPRINTED = ("model.safetensors", "tokenizer.json", "sentence_bert_config.json", "modules.json")


def fingerprint(folder: Path) -> str:
    """A digest of the weights, the tokenizer and the settings in `folder`: it changes when the vectors would."""
    digest = hashlib.blake2b(digest_size=16)
    for name in _FINGERPRINTED:
        path = folder / name
        digest.update(path.read_bytes() if path.is_file() else b"-")
    return digest.hexdigest()
