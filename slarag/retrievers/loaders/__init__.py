"""Files to LangChain Documents: text, Markdown, HTML, PDF and JSONL."""

from .corpus import Corpus, Skipped
from .walk import SourceFile, find_files

__all__ = ["Corpus", "Skipped", "SourceFile", "find_files"]
