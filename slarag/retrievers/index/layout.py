"""The names of the files of an index folder.

FOLDER/manifest.json         what the index is, and the checksums of the files below; written last
FOLDER/.slarag-index.lock    held by whoever writes
FOLDER/data-XXXXXXXX/        the generation that the manifest names
    sources.txt              the extracted text of every document, UTF-8, one after the other
    documents.jsonl          a document a line: id, title, source, content hash, where its text lies
    passages.jsonl           a passage a line: id, document, title, where its text lies
    vectors.f32              float32 [passages, dim], row-major, little-endian
    dense.faiss              the graph of approximate search, in large indexes only
    lexical/                 BM25
    *.npy                    offsets of the lines, and orders
FOLDER/building/             a run that is under way or was interrupted
"""

from __future__ import annotations

from ..loaders.walk import INDEX_MARK

MANIFEST = "manifest.json"
LOCK = INDEX_MARK
BUILDING = "building"
GENERATION_PREFIX = "data-"

SOURCES = "sources.txt"
DOCUMENTS = "documents.jsonl"
PASSAGES = "passages.jsonl"
DOCUMENT_ORDER = "documents.order.npy"
PASSAGE_RANKS = "passages.ranks.npy"
VECTORS = "vectors.f32"
DENSE = "dense.faiss"
LEXICAL = "lexical"
SHARDS = "shards.txt"
