"""What the router is made of: circuit breakers, retries, the race between backends, the account of what they cost."""
