"""Mutants of source files, the tests that can notice them, and trials of one against the others."""
