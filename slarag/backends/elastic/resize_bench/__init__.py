"""Measures a resize under load against what it replaces (a cold restart, more replicas, a second pool) and against
itself with its parts taken away one after the other. `run.run` does all of it in one process, side by side.
"""
