"""Protocols: experimental choices on which papers, official codes and good practice differ.

A protocol has one field per choice. Its name is not part of any key: before keys are made, it is
resolved into a method's hyper-parameters, the splits and the metrics' parameters. Protocols
therefore share all outputs on which they agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval

from bench.api.method import Grid
from bench.core.errors import unknown_name
from bench.core.parameters import Count, Fraction, NonNegative, Positive, with_parameters
from bench.posthoc.functional import KRule
from bench.posthoc.selection import ALPHAS

Share = Annotated[float, Interval(gt=0, lt=1)]
Pixels = Annotated[int, Ge(0)]


def _field(default: Any, official: Any, source: str) -> Any:
    """Return a field with its values under ``clean`` (`default`) and ``official``, and a source."""
    return field(default=default, metadata={"official": official, "source": source})


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

    selects: Literal["selection", "test"] = _field(
        "selection", "test",
        "where alpha, a, b, C and temperatures are chosen: on held-out training data, or, as in "
        "VRF's code, on the reported ID test set (docs/methods.md section 7 and section 9, item 8)",
    )  # fmt: skip
    rule: Literal["within-1pt", "max-val"] = _field(
        "within-1pt",
        "max-val",
        "selection rule; the papers choose the highest accuracy (VRF section 5.1)",
    )
    holdout: Share = _field(
        0.1,
        0.1,
        "fraction of the training split held out if a suite has no selection split; bench's choice",
    )
    alphas: Grid[Fraction] = _field(
        ALPHAS, ALPHAS[1:-1],
        "grid of the ensembles' alpha: 0, 0.1, ..., 1 in VRF's paper, 0.1 to 0.9 in its code",
    )  # fmt: skip
    vrf_k: KRule = _field(
        "round", "official-code",
        "rule for VRF's k: floor(p |V|) in its paper, which can be 0, hence rounded here; "
        "round(1000 |V| / N) in its code (docs/methods.md section 9, item 4)",
    )  # fmt: skip
    vrf_p: Fraction = _field(
        0.001, 0.001, "VRF's p (step 2 of its section 4); not used in its code"
    )
    vrf_squared: bool = _field(
        False, True,
        "VRF's distance: plain L2 in its paper, squared in its code (docs/methods.md section 9, "
        "item 3)",
    )  # fmt: skip
    vrf_a: Grid[NonNegative] = _field(
        (0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5), (1.5,),
        "VRF's a: a grid search; 1.5, on squared distances, for every backbone in its code",
    )  # fmt: skip
    vrf_b: Grid[Positive] = _field(
        (0.05, 0.1, 0.2, 0.4), (0.6,),
        "VRF's b: a grid search; 0.6 in its code, 0.5 for ViT-B/16 in its Table 7",
    )  # fmt: skip
    vrf_calibrate: Literal["nll", "confidence", "none"] = _field(
        "nll", "confidence",
        "criterion of VRF's temperatures: none in its paper's method section; in its code, "
        "mean confidence equal to accuracy",
    )  # fmt: skip
    scaling: Literal["nll", "confidence", "none"] = _field(
        "nll", "confidence",
        "criterion for the results with temperature scaling; CaRot's evaluator takes a factor "
        "set by hand, and how its authors chose theirs is unknown (docs/methods.md section 11)",
    )  # fmt: skip
    ece_bins: Count = _field(15, 10, "number of ECE bins; 10 in CaRot's evaluator")
    ece_batch: Count | None = _field(
        None,
        512,
        "batch size of the ECE: over the whole set, or the mean over batches in file order as in "
        "CaRot's code",
    )
    lp_ft_normalized: bool = _field(
        True, True,
        "whether LP-FT's head takes normalised features: yes in VRF and the code it builds on, no "
        "in CaRot",
    )  # fmt: skip
    lp_ft_optimizer: Literal["adamw", "sgd"] = _field(
        "adamw",
        "adamw",
        "optimizer of LP-FT's second phase: AdamW in VRF and CaRot, SGD in LP-FT's code",
    )
    flyp_captions: Literal["each-image", "rows"] = _field(
        "each-image", "rows",
        "sampling of (image, caption) pairs: every image once per epoch, or FLYP's shuffled list "
        "of all pairs (docs/methods.md section 6)",
    )  # fmt: skip
    objectnet_border: Pixels = _field(
        2, 0,
        "pixels cut from each side of images with a border (ObjectNet's is 2 wide); the codes of "
        "wise-ft, VRF and FLYP intend it but never do it (docs/methods.md section 14, item 1)",
    )  # fmt: skip

    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the hyper-parameters that the protocol sets: {method: {parameter: value}}.

        Examples
        --------
        >>> from bench.api.protocol import Protocol
        >>> Protocol().parameters()["ose"]
        {'alphas': (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)}
        """
        ensemble = {"alphas": self.alphas}
        vrf = {
            "k_rule": self.vrf_k,
            "p": self.vrf_p,
            "squared": self.vrf_squared,
            "a_grid": self.vrf_a,
            "b_grid": self.vrf_b,
            "calibrate": self.vrf_calibrate,
        }
        captions = {"captions": self.flyp_captions}
        probe = {} if self.lp_ft_normalized else {"probe.start": "random"}
        lp_ft = {"optimizer": self.lp_ft_optimizer, "probe.normalized": self.lp_ft_normalized}
        calibrated = {"calibrate": self.vrf_calibrate if self.vrf_calibrate != "none" else "nll"}
        return {
            **dict.fromkeys(("wise-ft", "ose", "ose-logits", "fisher"), ensemble),
            "ose-calibrated": ensemble | calibrated,
            **dict.fromkeys(("vrf", "vrf-shuffled", "vrf-constant", "vrf-all-correct"), vrf),
            **dict.fromkeys(("flyp", "carot", "carot-slides"), captions),
            "lp-ft": lp_ft | probe,
        }

    def facts(self) -> dict[str, Any]:
        """Return all fields except the name, for records."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "name"}


CLEAN = Protocol()
OFFICIAL = Protocol(
    "official", **{f.name: f.metadata["official"] for f in fields(Protocol) if f.metadata}
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
    if "name" in changes:
        raise unknown_name("field of a protocol", "name", CLEAN.facts())
    changed = with_parameters(PROTOCOLS[name], changes, "protocol")
    before, after = PROTOCOLS[name].facts(), changed.facts()
    differing = [f"{k} {_text(v)}" for k, v in after.items() if v != before[k]]
    title = ", ".join([name, *differing])
    return Protocol(title, **after)


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
