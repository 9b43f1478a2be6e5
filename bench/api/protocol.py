"""Protocols: experimental choices on which papers, official codes and good practice differ.

A protocol has one field for each choice that concerns several methods. A choice within one method
is a hyper-parameter of that method, whose field has both values (`bench.core.parameters.setting`).
The name of a protocol is not part of any key: before keys are made, it is resolved into methods'
hyper-parameters, the splits and the metrics' parameters. Protocols therefore share all outputs on
which they agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from annotated_types import Interval

from bench.api.method import Method
from bench.api.metrics import Metric, all_metrics
from bench.core.errors import InputError, unknown_name
from bench.core.parameters import Count, setting, settings, with_parameters
from bench.posthoc.calibration_error import Edges

Share = Annotated[float, Interval(gt=0, lt=1)]
Pixels = Annotated[int, Interval(ge=0, lt=2**15)]
Bins = Annotated[int, Interval(ge=1, le=100_000)]


@dataclass(frozen=True)
class Protocol:
    """The experimental choices of a run; the defaults are the protocol ``clean``.

    The protocol ``official`` follows the published codes, including their use of test data for
    choices. `name` is the name of the protocol, followed by the fields that were changed.

    Examples
    --------
    >>> from bench.api.protocol import Protocol
    >>> Protocol().rule, Protocol(ece_bins=20).ece_bins
    ('within-1pt', 20)
    """

    name: str = "clean"

    selects: Literal["selection", "test"] = setting(
        "selection",
        "where alpha, a, b, C and temperatures are chosen: on held-out training data, or, as in "
        "VRF's code, on the reported ID test set (docs/methods.md section 7 and section 9, item 8)",
        official="test",
    )
    rule: Literal["within-1pt", "max-val"] = setting(
        "within-1pt",
        "selection rule; the papers choose the highest accuracy (VRF section 5.1)",
        official="max-val",
    )
    holdout: Share = setting(
        0.1,
        "fraction of the training split held out if a suite has no selection split; bench's choice",
    )
    settings: Literal["clean", "official"] = setting(
        "clean",
        "whether methods have their clean or their official hyper-parameters; `bench show METHOD` "
        "lists both with their sources",
        official="official",
    )
    scaling: Literal["nll", "confidence", "vector", "isotonic", "none"] = setting(
        "nll",
        "criterion for the results with temperature scaling, or another calibration in its place "
        "(vector, isotonic); CaRot's evaluator takes a factor set by hand, and how its authors "
        "chose theirs is unknown (docs/methods.md section 11)",
        official="confidence",
    )
    ece_bins: Bins = setting(15, "number of ECE bins; 10 in CaRot's evaluator", official=10)
    ece_batch: Count | None = setting(
        None,
        "batch size of the ECE: over the whole set, or the mean over batches in file order as in "
        "CaRot's code",
        official=512,
    )
    ece_edges: Edges = setting(
        "upper",
        "the edge that belongs to a bin of the ECE: the upper one in Guo et al.; the lower one in "
        "torchmetrics, which CaRot's evaluator calls, where a confidence of 1 has a bin of its own",
        official="lower",
    )
    objectnet_border: Pixels = setting(
        2,
        "pixels cut from each side of images with a border (ObjectNet's is 2 wide); the codes of "
        "wise-ft, VRF and FLYP intend it but never do it (docs/methods.md section 14, item 1)",
        official=0,
    )

    def changes(self, method: Method, task: str) -> dict[str, Any]:
        """Return the hyper-parameters of `method` that the protocol sets on `task`, by name.

        Under ``settings=official`` these are the official values that differ from its own.

        Examples
        --------
        >>> from bench.api.protocol import OFFICIAL
        >>> from bench.api.registry import find_method
        >>> OFFICIAL.changes(find_method("ose")(), "imagenet")
        {'alphas': (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)}
        """
        if self.settings == "clean":
            return {}
        found = settings(method, task)
        return {name: s.official for name, s in found.items() if s.official != s.clean}

    def metrics(self) -> Mapping[str, Metric]:
        """Return the metrics of every evaluation set by name, with the protocol's ECE.

        Examples
        --------
        >>> from bench.api.protocol import CLEAN, OFFICIAL
        >>> CLEAN.metrics()["ece"].params, OFFICIAL.metrics()["ece"].params
        ({'bins': 15}, {'bins': 10, 'batch': 512, 'edges': 'lower'})
        """
        return all_metrics(self.ece_bins, self.ece_batch, self.ece_edges)

    def facts(self) -> dict[str, Any]:
        """Return all fields except the name, for records."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "name"}


CLEAN = Protocol()
OFFICIAL = Protocol(
    "official", **{name: s.official for name, s in settings(CLEAN).items() if name != "name"}
)
PROTOCOLS: Mapping[str, Protocol] = {p.name: p for p in (CLEAN, OFFICIAL)}
"""All protocols by name, the default first."""


def protocol_with(name: str, changes: Mapping[str, Any]) -> Protocol:
    """Return the protocol `name` with fields changed. Its new name lists the changes.

    Raises InputError for an unknown name or field, or an invalid value.

    Examples
    --------
    >>> from bench.api.protocol import protocol_with
    >>> protocol_with("official", {"ece_bins": 15}).name
    'official, ece_bins 15'
    """
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    for field in changes:
        if field not in CLEAN.facts():
            unknown = unknown_name("field of a protocol", field, CLEAN.facts())
            raise InputError(f"{unknown}; for one method: --set METHOD.PARAM=VALUE")
    changed = with_parameters(PROTOCOLS[name], changes, "protocol")
    before, after = PROTOCOLS[name].facts(), changed.facts()
    differing = [f"{k} {_text(v)}" for k, v in after.items() if v != before[k]]
    title = ", ".join([name, *differing])
    return Protocol(title, **after)


SCALINGS = {"vector": "VS", "isotonic": "IR"}
"""Short names of calibrations in reports; that of temperature scaling, ``TS``, is the default."""


def scaling_label(protocol: str) -> str:
    """Return the short name of the calibration of a protocol, by the protocol's name.

    Examples
    --------
    >>> from bench.api.protocol import protocol_with, scaling_label
    >>> scaling_label("clean"), scaling_label(protocol_with("clean", {"scaling": "vector"}).name)
    ('TS', 'VS')
    """
    changed = {part.removeprefix("scaling ") for part in protocol.split(", ") if "scaling " in part}
    return next((label for name, label in SCALINGS.items() if name in changed), "TS")


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
