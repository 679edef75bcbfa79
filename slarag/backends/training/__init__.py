"""How the reader is made: sources, examples, trainer, evaluation, model card."""
