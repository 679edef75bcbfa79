"""The pool's HTTP: OpenAI's completions, and vLLM's control of elastic expert parallelism."""
