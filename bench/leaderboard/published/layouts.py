"""Layouts of papers' tables: their rows, in order, with titles, and the form of their columns.

A preset fixes the methods of a run and adds a table to its report that can be compared with the
paper's. It contains no numbers; they come from the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench.core.errors import unknown_name

Form = Literal["shifts", "calibration"]


@dataclass(frozen=True)
class PresetRow:
    """A row as the paper prints it.

    `name` is the row's name, as on the command line. With `minus`, the line is the difference of
    `name` and `minus`.

    Examples
    --------
    >>> from bench.leaderboard.published.layouts import PresetRow
    >>> PresetRow("Δ", "vrf:lp-ft", minus="ose:lp-ft").minus
    'ose:lp-ft'
    """

    title: str
    name: str
    minus: str | None = None


@dataclass(frozen=True)
class Preset:
    """A paper's table.

    Attributes
    ----------
    name : its name on the command line.
    title : its title.
    source : where it is printed.
    form : ``shifts``: accuracy on ID, on every shift, and their mean; ``calibration``: ID and OOD
        accuracy, ID and OOD ECE without and with temperature scaling.
    groups : its lines in order, in groups separated by rules.
    released : the fine-tuned checkpoints of its models that were released, and where they are;
        empty if none are known.

    Examples
    --------
    >>> from bench.leaderboard.published.layouts import find_preset
    >>> find_preset("vrf-table1").methods[:4]
    ('zero-shot', 'linear', 'e2e-ft', 'wise-ft:e2e-ft')
    """

    name: str
    title: str
    source: str
    form: Form
    groups: tuple[tuple[PresetRow, ...], ...]
    released: str = ""

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of its rows, in order, without difference rows."""
        return tuple(line.name for group in self.groups for line in group if line.minus is None)


def _ensembles(base: str, title: str) -> tuple[PresetRow, ...]:
    """Return the rows of a base and its ensembles, as in VRF's tables."""
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

WISE_FT_TABLE_8 = Preset(
    name="wise-ft-table8",
    title="WiSE-FT's Table 8",
    source="Wortsman et al., CVPR 2022, Table 8",
    form="shifts",
    groups=(
        (PresetRow("Zero-shot", "zero-shot"),),
        (PresetRow("E2E-FT", "e2e-ft"), PresetRow("+ Weight-space ensemble", "wise-ft:e2e-ft")),
    ),
    released="zeroshot.pt and checkpoint_10.pt of ViT-B/16, which the README of "
    "github.com/BeierZhu/VRF links to",
)
"""Its ensembles have alpha 0.5, or the best alpha for each column. A run has one line, whose alpha
is chosen as usual; its curve over alpha has the other points."""

PRESETS: Mapping[str, Preset] = {p.name: p for p in (VRF_TABLE_1, CAROT_SLIDES, WISE_FT_TABLE_8)}
"""Every preset by name."""


def find_preset(name: str) -> Preset:
    """Return the preset `name`. Raises InputError, listing the valid names, if there is none.

    Examples
    --------
    >>> from bench.leaderboard.published.layouts import find_preset
    >>> find_preset("carot-slides").form
    'calibration'
    """
    if name not in PRESETS:
        raise unknown_name("table", name, PRESETS)
    return PRESETS[name]
