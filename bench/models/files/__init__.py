"""Backbones in checkpoint files: containers, names, and what such files do not say."""
