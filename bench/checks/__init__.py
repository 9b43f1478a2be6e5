"""Checks of finished runs and of data sets: recomputed tables, golden runs, comparisons."""
