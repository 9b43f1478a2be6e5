"""The comparisons with the official codes, which `scripts/parity.py` runs."""

from parity_cases import losses, merging, newer, runs, training, vrf
from parity_cases.case import Arrays, Case, difference
from parity_cases.official import Checkout, checkouts

CASES = (*losses.CASES, *merging.CASES, *training.CASES, *runs.CASES, *vrf.CASES, *newer.CASES)

__all__ = ["CASES", "Arrays", "Case", "Checkout", "checkouts", "difference"]
