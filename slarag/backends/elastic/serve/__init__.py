"""Serving: which tokens each device computes next, and text out of tokens."""
