"""The index: a folder on disk that is built, extended and searched."""

from .build import add, build_index, remove
from .index import Index
from .progress import Phase, Progress
from .report import BuildReport
from .retriever import IndexRetriever

__all__ = ["BuildReport", "Index", "IndexRetriever", "Phase", "Progress", "add", "build_index", "remove"]
