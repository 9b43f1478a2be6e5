"""What the board says of methods: idea, paper, year, venue and kind, from their classes."""

from __future__ import annotations

from bench.api.registry import methods
from bench.leaderboard.hyper_parameters import method_name
from bench.report.formats.board.cells import Data

KINDS = {
    "trained": "trained or zero-shot, one model",
    "merges": "merges weights: one model",
    "ensembles": "combines the outputs of several models",
}
"""What the groups of methods mean."""


def method_id(label: str) -> str:
    """Return the registered name behind the label of a row; the label if there is none.

    Examples
    --------
    >>> from bench.report.formats.board.methods import method_id
    >>> method_id("e2e-ft@3+ls"), method_id("wise-ft-oracle-id")
    ('e2e-ft', 'wise-ft')
    """
    name = method_name(label).partition("-oracle-")[0]
    return name if name in methods() else label


def method_data(name: str) -> Data | None:
    """Return what is known of a registered method; None for a name that none has.

    Examples
    --------
    >>> from bench.report.formats.board.methods import method_data
    >>> card = method_data("vrf")
    >>> card["title"], card["venue"], card["year"]
    ('VRF', 'NeurIPS', 2024)
    """
    method = methods().get(name)
    if method is None:
        return None
    found = method()
    return {
        "title": method.title,
        "idea": method.summary,
        "equation": method.equation,
        "source": method.source,
        "year": method.year,
        "venue": method.venue,
        "paper": method.paper if method.venue else "",  # ablations inherit it
        "kind": KINDS[found.group],
    }
