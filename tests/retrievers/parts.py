"""What the tests of retrieval share: a tiny encoder, documents, and a PDF."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np

from slarag.retrievers.embedder import Embedder
from slarag.retrievers.ranking import Scores


class HashEncoder:
    """Bags of hashed words as unit vectors: enough meaning for a test, and no model."""

    def __init__(self, *, dim: int = 64, fingerprint: str = "hash-1") -> None:
        self.dim = dim
        self.name = "hash encoder"
        self.fingerprint = fingerprint
        self.calls: list[list[str]] = []

    def encode(self, texts: list[str]) -> Scores:
        self.calls.append(list(texts))
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row, 0] = 0.1
            for word in re.findall(r"\w+", text.lower()):
                digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
                vectors[row, 1 + int.from_bytes(digest, "little") % (self.dim - 1)] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def hash_embedder(**settings: str | int) -> Embedder:
    return Embedder(HashEncoder(**settings))  # type: ignore[arg-type]


FACTS = {
    "amber.txt": "Amber is fossil resin.\n\nThe Baltic coast is the largest known source of amber.",
    "bees.md": "# Bees\n\nA honey bee colony has one queen. Workers dance to tell where flowers are.",
    "cocoa.txt": "Cocoa beans grow in pods on the trunk of the cacao tree. Ghana and Ivory Coast grow most of them.",
    "deep/dunes.txt": "A sand dune moves with the wind. Star dunes grow upwards instead of moving.",
}


def write_facts(folder: Path) -> Path:
    for name, text in FACTS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def pdf_bytes(pages: list[list[str]], title: str = "") -> bytes:
    """A PDF whose pages show lines of plain ASCII text."""
    contents = [_page_content(lines) for lines in pages]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, content in enumerate(contents):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    objects.append(f"<< /Title ({title}) >>".encode())
    return _assembled(objects)


def _page_content(lines: list[str]) -> bytes:
    shown = "".join(f"({_escaped(line)}) Tj T* " for line in lines)
    return f"BT /F1 12 Tf 14 TL 72 720 Td {shown}ET".encode()


def _escaped(line: str) -> str:
    return re.sub(r"([\\()])", r"\\\1", line)


def _assembled(objects: list[bytes]) -> bytes:
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return out + trailer % (len(objects) + 1, len(objects), start)
