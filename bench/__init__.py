"""bench: robust fine-tuning of CLIP-like zero-shot models, on one footing."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["OSE", "VRF", "TemperatureScaling", "__version__"]

if TYPE_CHECKING:
    from bench.estimators import OSE, VRF, TemperatureScaling
else:

    def __getattr__(name):
        """The estimators, imported when first asked for: ``import bench`` loads nothing."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from bench import estimators

        return getattr(estimators, name)
