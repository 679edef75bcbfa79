"""Corpus, passages, and the ways to find them: lexical, dense, fused; in an index folder, in memory, or elsewhere."""
