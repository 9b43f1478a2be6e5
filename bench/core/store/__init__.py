"""The store of computed outputs, the form of its files, and claims on what is being computed."""

from bench.core.store.container import UnreadableOutput
from bench.core.store.store import BLOCK, MissingOutput, Store, block_count, rows_in

__all__ = ["BLOCK", "MissingOutput", "Store", "UnreadableOutput", "block_count", "rows_in"]
