"""Checks of finished work: recomputed tables, golden numbers, changes, data sets."""
