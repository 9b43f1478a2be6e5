"""bench: robust fine-tuning of CLIP-like zero-shot models, on one footing."""

from typing import TYPE_CHECKING

from bench.core.version import __version__

__all__ = ["OSE", "VRF", "TemperatureScaling", "__version__"]

if TYPE_CHECKING:
    from bench.posthoc.estimators import OSE, VRF, TemperatureScaling
else:

    def __getattr__(name):
        """The estimators, imported when first asked for: ``import bench`` loads nothing."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from bench.posthoc import estimators

        return getattr(estimators, name)
