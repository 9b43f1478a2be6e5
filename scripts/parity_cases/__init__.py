"""What bench is compared with in the official codes; `scripts/parity.py` runs it."""

from parity_cases import losses, merging, runs, training, vrf
from parity_cases.case import Arrays, Case, difference
from parity_cases.official import Checkout, checkouts

CASES = (*losses.CASES, *merging.CASES, *training.CASES, *runs.CASES, *vrf.CASES)

__all__ = ["CASES", "Arrays", "Case", "Checkout", "checkouts", "difference"]
