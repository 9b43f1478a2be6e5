"""Protocols: named choices where papers, codes and good practice differ, one field each.

A protocol's name enters no key. It is resolved into explicit fields of the work (a method's
hyper-parameters, the splits, the metrics' parameters) before any key is made, so that two
protocols share whatever they agree on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval

from bench.api.method import ALPHAS, Grid
from bench.core.errors import unknown_name
from bench.core.parameters import Count, Fraction, NonNegative, Positive, with_parameters
from bench.posthoc.functional import KRule

Share = Annotated[float, Interval(gt=0, lt=1)]
Pixels = Annotated[int, Ge(0)]
Criterion = Literal["nll", "confidence"]


def _field(default: Any, official: Any, source: str) -> Any:
    """A field with its value under ``clean`` and ``official``, and where the latter is from."""
    return field(default=default, metadata={"official": official, "source": source})


@dataclass(frozen=True)
class Protocol:
    """How things are done where they could be done otherwise; the defaults are ``clean``.

    ``official`` does what the published codes do, leaks included. `name` says which of the two it
    is and what was changed of it.
    """

    name: str = "clean"

    selects: Literal["selection", "test"] = _field(
        "selection", "test",
        "where alpha, a, b, C and temperatures are chosen: held-out training data, or, as in VRF's "
        "code, the ID test set that is reported (docs/methods.md section 7 and section 9, item 8)",
    )  # fmt: skip
    rule: Literal["within-1pt", "max-val"] = _field(
        "within-1pt", "max-val", "selection rule; the papers take the highest accuracy (VRF 5.1)"
    )
    holdout: Share = _field(
        0.1, 0.1, "share of the training split held out where a suite has no selection split; ours"
    )
    alphas: Grid[Fraction] = _field(
        ALPHAS, ALPHAS[1:-1],
        "grid of the ensembles' alpha: 0, 0.1, ..., 1 in VRF's paper, 0.1 to 0.9 in its code",
    )  # fmt: skip
    vrf_k: KRule = _field(
        "round", "official-code",
        "which neighbour counts: floor(p |V|) in VRF's paper, which can be 0, so rounded here; "
        "round(1000 |V| / N) in its code (docs/methods.md section 9, item 4)",
    )  # fmt: skip
    vrf_p: Fraction = _field(0.001, 0.001, "VRF's p (step 2 of its section 4); its code has none")
    vrf_squared: bool = _field(
        False, True,
        "VRF's distance: plain L2 in its paper, squared in its code (docs/methods.md section 9, "
        "item 3)",
    )  # fmt: skip
    vrf_a: Grid[NonNegative] = _field(
        (0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5), (1.5,),
        "VRF's a: searched; its code has 1.5, on squared distances, for every backbone",
    )  # fmt: skip
    vrf_b: Grid[Positive] = _field(
        (0.05, 0.1, 0.2, 0.4), (0.6,),
        "VRF's b: searched; 0.6 in its code, 0.5 for ViT-B/16 in its Table 7",
    )  # fmt: skip
    vrf_calibrate: Literal["nll", "confidence", "none"] = _field(
        "nll", "confidence",
        "VRF's temperatures: not in its paper's method; by mean confidence = accuracy in its code",
    )  # fmt: skip
    scaling: Literal["nll", "confidence", "none"] = _field(
        "nll", "confidence",
        "how the block with temperature scaling is fitted; CaRot's evaluator takes a factor by "
        "hand, how its authors found theirs is not known (docs/methods.md section 11)",
    )  # fmt: skip
    ece_bins: Count = _field(15, 10, "bins of the ECE; 10 in CaRot's evaluator")
    ece_batch: Count | None = _field(
        None, 512, "ECE over the whole set, or the mean over batches in file order (CaRot's code)"
    )
    lp_ft_normalized: bool = _field(
        True, True,
        "LP-FT's head takes normalised features, as in VRF's lineage; raw ones in CaRot's",
    )  # fmt: skip
    lp_ft_optimizer: Literal["adamw", "sgd"] = _field(
        "adamw", "adamw", "of LP-FT's second phase: AdamW in VRF and CaRot, SGD in LP-FT's code"
    )
    flyp_captions: Literal["each-image", "rows"] = _field(
        "each-image", "rows",
        "sampling of (image, caption) pairs: every image once an epoch, or FLYP's shuffled list "
        "of all pairs (docs/methods.md section 6)",
    )  # fmt: skip
    objectnet_border: Pixels = _field(
        2, 0,
        "pixels cut from each side of images with a border (ObjectNet's is 2 wide): meant, but "
        "never done by the codes of wise-ft, VRF and FLYP (docs/methods.md section 14, item 1)",
    )  # fmt: skip

    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """The hyper-parameters it fixes: {method: {parameter: value}}."""
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
        """All fields but the name, for records."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "name"}


CLEAN = Protocol()
OFFICIAL = Protocol(
    "official", **{f.name: f.metadata["official"] for f in fields(Protocol) if f.metadata}
)
PROTOCOLS: Mapping[str, Protocol] = {p.name: p for p in (CLEAN, OFFICIAL)}
"""Every protocol by name, the default first."""


def protocol_with(name: str, changes: Mapping[str, Any]) -> Protocol:
    """The protocol `name` with fields changed, which its new name says.

    Raises InputError for an unknown name, field or value.
    """
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    if "name" in changes:
        raise unknown_name("field of a protocol", "name", CLEAN.facts())
    changed = with_parameters(PROTOCOLS[name], changes, "protocol")
    before, after = PROTOCOLS[name].facts(), changed.facts()
    differing = [f"{k} {_said(v)}" for k, v in after.items() if v != before[k]]
    title = ", ".join([name, *differing])
    return Protocol(title, **after)


def _said(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
