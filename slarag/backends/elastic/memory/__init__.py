"""Device memory: arenas split into pages, owned by one process and mapped by many."""
