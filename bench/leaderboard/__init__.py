"""Leaderboards built from records: rows, columns, means, and which of them may be compared.

`stats` holds confidence intervals and tests, `published` the papers' tables. Nothing here imports
torch.
"""
