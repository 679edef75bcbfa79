"""The models that the pool serves, and how their checkpoints are read."""
