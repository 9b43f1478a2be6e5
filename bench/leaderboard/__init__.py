"""From records to boards: rows, columns, means, and which of them may be compared.

`stats` has the intervals and tests, `published` the papers' tables. Nothing here imports torch.
"""
