"""The front door in Python: what ``import bench`` offers; the command line is a thin layer over it.

`functions` has `run`, `plan`, `score` and `load`, `check` has `check`; `run` and `plan` have what
they return, `options` their keyword arguments, `display` the progress.
"""
