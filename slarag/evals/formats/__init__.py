"""Question files in the layouts that the field uses, read into one kind of item.

What is decided for all of them:

* several answers: any of them is right, the best match counts; duplicates are dropped.
* yes or no: a Boolean answer becomes the text `yes` or `no`.
* no answer: `is_impossible`, `answerable: false`, a null query, or MultiHop-RAG's "Insufficient information." make a
  question whose right reply is to abstain.
* equal paragraphs are one document, named by a digest of title and text: names do not depend on the order of a file.
"""

from __future__ import annotations

from .dataset import Dataset
from .detect import FORMATS, DataFormat
from .load import load_dataset

__all__ = ["FORMATS", "DataFormat", "Dataset", "load_dataset"]
