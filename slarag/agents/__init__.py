"""The agents of a query: retriever, reranker, reasoner, arbiter and verifier, a file each."""
