"""The embedded reader: one forward pass over a question and a passage, on this machine."""
