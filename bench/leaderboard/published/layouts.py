"""Papers' tables: which rows they have, in which order, under which titles and in which form.

A preset fixes the methods of a run and gives its report one more table, which can be laid beside
the paper's. It holds no number: those are the run's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench.core.errors import unknown_name

Form = Literal["shifts", "calibration"]


@dataclass(frozen=True)
class PresetRow:
    """A row as the paper prints it: `name` is the row's, as on the command line.

    A line with `minus` is the difference of two rows.
    """

    title: str
    name: str
    minus: str | None = None


@dataclass(frozen=True)
class Preset:
    """A paper's table.

    Attributes
    ----------
    title : what it is, in words; source : where it is printed.
    form : ``shifts``: accuracy on ID, on every shift, and their mean; ``calibration``: ID and OOD
        accuracy, ID and OOD ECE without and with temperature scaling.
    groups : its lines in order, set apart by rules.
    """

    name: str
    title: str
    source: str
    form: Form
    groups: tuple[tuple[PresetRow, ...], ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of its rows, in order, without differences."""
        return tuple(line.name for group in self.groups for line in group if line.minus is None)


def _ensembles(base: str, title: str) -> tuple[PresetRow, ...]:
    """A base and the ensembles on it, as VRF's tables have them."""
    return (
        PresetRow(title, base),
        PresetRow("+ Weight-space ensemble", f"wise-ft:{base}"),
        PresetRow("+ Output-space ensemble", f"ose:{base}"),
        PresetRow("+ VRF", f"vrf:{base}"),
        PresetRow("Δ", f"vrf:{base}", minus=f"ose:{base}"),
    )


VRF_TABLE_1 = Preset(
    name="vrf-table1",
    title="VRF's Table 1",
    source="Zhu et al., NeurIPS 2024, Table 1",
    form="shifts",
    groups=(
        (PresetRow("Zero-shot", "zero-shot"), PresetRow("Linear classifier", "linear")),
        _ensembles("e2e-ft", "E2E-FT"),
        _ensembles("lp-ft", "LP-FT"),
    ),
)

CAROT_SLIDES = Preset(
    name="carot-slides",
    title="CaRot's slides",
    source="Oh et al., slides on an early version of CaRot (arXiv 2311.01723), results",
    form="calibration",
    groups=(
        (
            PresetRow("ZS", "zero-shot"),
            PresetRow("FT", "e2e-ft"),
            PresetRow("FT w/ LS", "e2e-ft+ls"),
            PresetRow("WiSE-FT", "wise-ft:e2e-ft"),
            PresetRow("WiSE-FT w/ LS", "wise-ft:e2e-ft+ls"),
            PresetRow("FLYP", "flyp"),
            PresetRow("FLYP w/ LS", "flyp+ls"),
            PresetRow("CaRot", "carot-slides"),
        ),
    ),
)

PRESETS: Mapping[str, Preset] = {p.name: p for p in (VRF_TABLE_1, CAROT_SLIDES)}
"""Every preset by name."""


def find_preset(name: str) -> Preset:
    """The preset `name`. Raises InputError, which lists the valid names, if there is none."""
    if name not in PRESETS:
        raise unknown_name("table", name, PRESETS)
    return PRESETS[name]
