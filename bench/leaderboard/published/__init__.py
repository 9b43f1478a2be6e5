"""The papers' tables as data, and which of their numbers were reproduced."""
