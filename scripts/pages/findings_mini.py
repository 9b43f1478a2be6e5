"""Findings about the run `mini`."""

from __future__ import annotations

from results_numbers import Numbers, claim, mean, points

SAME = 0.003
"""Two accuracies that differ by less than this fraction (0.3 points) are called equal here."""


def _trade_off(n: Numbers) -> str:
    ahead = n.id("e2e-ft") > n.id("zero-shot") and n.ood("e2e-ft") < n.ood("zero-shot")
    claim(ahead, "E2E-FT gains ID accuracy and loses OOD accuracy")
    gain, loss = (n.minus("e2e-ft", "zero-shot", on_id=on_id) for on_id in (True, False))
    claim(not gain.may_be_chance and not loss.may_be_chance, "neither may be chance")
    return (
        f"E2E-FT minus zero-shot is {gain} points in distribution and {loss} in the mean over the "
        "shifts: the trade-off that robust fine-tuning addresses."
    )


def _won_back(n: Numbers) -> str:
    rows = [f"{name}:e2e-ft" for name in ("wise-ft", "ose", "vrf")]
    for row in rows:
        claim(n.id(row) >= n.id("e2e-ft"), f"{row} keeps the ID accuracy of E2E-FT")
        claim(n.ood(row) > n.ood("zero-shot") - SAME, f"{row} recovers OOD accuracy")
    least, most = min(map(n.id, rows)), max(map(n.id, rows))
    wise, ose, vrf = map(n.ood_text, rows)
    gain, on_id = (n.minus("vrf:e2e-ft", "ose:e2e-ft", on_id=on_id) for on_id in (False, True))
    claim(gain.may_be_chance, "VRF and OSE are not separated")
    return (
        "The ensembles keep the gain and recover what fine-tuning lost: at "
        f"{points(least)} to {points(most)} ID, OOD is {wise} for WiSE-FT, {ose} for OSE and "
        f"{vrf} for VRF. VRF - OSE is {gain}, which may be chance, and {on_id} on ID."
    )


def _curves(n: Numbers) -> str:
    endpoints = max(n.ood("zero-shot"), n.ood("e2e-ft"))
    maxima = []
    for row, title in (("wise-ft:e2e-ft", "WiSE-FT"), ("ose:e2e-ft", "OSE")):
        best = max(n.curve(row).points, key=lambda point: mean(point.ood))
        claim(mean(best.ood) > endpoints, f"the curve of {row} beats both endpoints OOD")
        claim(mean(best.id) < n.id("e2e-ft"), f"it costs {row} ID accuracy")
        alpha = dict(best.choice)["alpha"]
        maxima.append(
            f"{title} has {points(mean(best.ood))} at alpha {alpha:g} ({points(mean(best.id))} ID)"
        )
    return (
        "Out of distribution only, and with the best alpha on the test sets (an oracle, steps of "
        f"0.1), WiSE-FT and OSE exceed both endpoints: {' and '.join(maxima)}."
    )


FINDINGS = (_trade_off, _won_back, _curves)
