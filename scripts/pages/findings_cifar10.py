"""The finding about the run `cifar10`."""

from __future__ import annotations

from results_numbers import Numbers, claim, points


def _nothing_known(n: Numbers) -> str:
    chance, ensembles = 0.1, [f"{name}:e2e-ft" for name in ("wise-ft", "ose", "vrf")]
    claim(n.id("zero-shot") < chance < n.id("e2e-ft"), "zero-shot alone is below chance")
    best = max(n.ood(row) for row in ensembles)
    claim(best <= n.ood("e2e-ft"), "no ensemble is ahead of E2E-FT")
    return (
        "The images are real photographs, but the model has seen none: the tiny CLIP only knows "
        f"rendered shapes. Zero-shot is at {points(n.id('zero-shot'))}, below chance, and no "
        f"ensemble with it has a higher OOD mean than E2E-FT ({points(best)} at most against "
        f"{points(n.ood('e2e-ft'))}, one seed). The run shows that the path for real images works; "
        "it says nothing about the methods: docs/cifar10.md."
    )


FINDINGS = (_nothing_known,)
