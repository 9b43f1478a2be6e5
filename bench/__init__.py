"""bench: robust fine-tuning of CLIP-like zero-shot models, compared on equal terms.

``bench.run(suite="mini", methods=["wise-ft", "vrf"])`` trains, evaluates and returns a `Run`;
``bench.plan``, ``bench.score``, ``bench.load``, ``bench.check`` and ``bench.export`` are its
companions. `VRF`, `OSE` and `TemperatureScaling` work on your own arrays.
"""

import importlib
from typing import TYPE_CHECKING

from bench.core import __version__

__all__ = [
    "OSE",
    "VRF",
    "Run",
    "RunPlan",
    "TemperatureScaling",
    "__version__",
    "check",
    "export",
    "load",
    "plan",
    "run",
    "sample_table",
    "score",
]

_HOMES = {
    "OSE": "bench.posthoc.estimators",
    "VRF": "bench.posthoc.estimators",
    "TemperatureScaling": "bench.posthoc.estimators",
    "Run": "bench.front.run",
    "RunPlan": "bench.front.plan",
    "check": "bench.front.check",
    "export": "bench.front.exports.export",
    "load": "bench.front.functions",
    "plan": "bench.front.functions",
    "run": "bench.front.functions",
    "sample_table": "bench.posthoc.configuration",
    "score": "bench.front.functions",
}

if TYPE_CHECKING:
    from bench.front.check import check
    from bench.front.exports.export import export
    from bench.front.functions import load, plan, run, score
    from bench.front.plan import RunPlan
    from bench.front.run import Run
    from bench.posthoc.configuration import sample_table
    from bench.posthoc.estimators import OSE, VRF, TemperatureScaling
else:

    def __getattr__(name):
        """Public names, imported when first asked for: ``import bench`` loads nothing."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_HOMES[name]), name)
