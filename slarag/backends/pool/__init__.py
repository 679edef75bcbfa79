"""How many devices a pool should have: forecast, policies, and a simulator to compare them in."""
