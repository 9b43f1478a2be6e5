"""The papers' tables as data, and the ledger of which of their numbers are reproduced."""
