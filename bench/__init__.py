"""bench: robust fine-tuning of CLIP-like zero-shot models, on one footing."""

__version__ = "0.1.0"
