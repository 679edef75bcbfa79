"""The pool's processes seen from the coordinator: devices, their workers and memory, resizes and recovery."""
