"""The front door in Python: what ``import bench`` offers; the command line is a thin layer over it.

`functions` has `run`, `plan`, `score` and `load`; `run` what they return; `display` the progress.
"""
