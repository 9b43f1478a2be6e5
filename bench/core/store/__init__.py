"""The store of computed outputs, the form of its files, and claims on what is being computed."""

from bench.core.store.blocks import BLOCK, block_count, rows_in
from bench.core.store.container import UnreadableOutput
from bench.core.store.store import MissingOutput, Store

__all__ = ["BLOCK", "MissingOutput", "Store", "UnreadableOutput", "block_count", "rows_in"]
