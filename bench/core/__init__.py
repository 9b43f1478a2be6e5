"""Foundations that all other packages use; nothing here depends on models or data.

Errors and exit codes, content hashes, hyper-parameters, folders and atomic writes, the store,
records, progress reporting, and the environment of a run.
"""

__version__ = "0.1.0"
"""The version of bench, where every package can import it."""
