"""Model services behind one protocol: the embedded reader, chat models, HTTP servers, the elastic pool, a router."""
