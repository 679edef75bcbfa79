"""What all backends share that answer by prompting a language model: prompts, strict replies, located quotes."""
