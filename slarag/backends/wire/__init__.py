"""Talking to a model server over HTTP: status codes, bounded bodies, event streams, metrics."""
