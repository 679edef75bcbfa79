"""all-MiniLM-L6-v2 on this machine: the embedder's model, and the parent of the reader's."""
