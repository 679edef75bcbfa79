"""The contract of a question: profiles, intents, plans, budgets, and the mapper between them. Pure: no network, no
model.
"""
