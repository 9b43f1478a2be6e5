"""Findings about the run `carot-slides`, compared with the slides."""

from __future__ import annotations

from collections.abc import Mapping

from results_numbers import Numbers, claim

from bench.leaderboard.published.tables import find_published_table

ID_ACCURACY, OOD_ACCURACY, ID_ECE, OOD_ECE, OOD_ECE_SCALED = 0, 1, 2, 3, 5
"""Columns of the slides' table."""


def _slides() -> Mapping[str, list[float]]:
    rows = (row for _, row in find_published_table("carot-slides").rows)
    return {row.ours or "": [float(cell or 0) for cell in row.cells] for row in rows}


def _carot(n: Numbers) -> str:
    tuned, slides = [row for row in n.rows() if row != "zero-shot"], _slides()
    carot, flyp = slides["carot-slides"], slides["flyp"]
    ahead = {row for row in tuned if n.ood(row) > n.ood("carot-slides")}
    in_print = {row for row in tuned if slides[row][OOD_ACCURACY] > carot[OOD_ACCURACY]}
    claim(max(tuned, key=n.id) == "carot-slides", "CaRot has the best ID accuracy")
    best = max(slides, key=lambda row: slides[row][ID_ACCURACY])
    claim(best == "carot-slides", "CaRot has the best ID accuracy on the slides")
    claim(ahead == in_print and all("wise-ft" in row for row in ahead), "only WiSE-FT is ahead")
    plain, scaled = (
        n.ood("carot-slides", "ece", scaled=with_ts) / n.ood("flyp", "ece", scaled=with_ts)
        for with_ts in (False, True)
    )
    claim(plain < 1 and scaled < 1, "CaRot's OOD ECE is lower than FLYP's")
    gain, in_slides = n.minus("carot-slides", "flyp"), carot[OOD_ACCURACY] - flyp[OOD_ACCURACY]
    claim(gain.interval.low > 0 and in_slides > 0, "CaRot is ahead of FLYP out of distribution")
    printed = [carot[column] / flyp[column] for column in (OOD_ECE, OOD_ECE_SCALED)]
    claim(max(printed) < 1, "CaRot's OOD ECE is lower than FLYP's on the slides")
    first, last = n.rank("carot-slides")
    return (
        f"CaRot has the highest ID accuracy. CaRot - FLYP is {gain} points of OOD accuracy, and "
        f"CaRot's OOD ECE is {plain:.0%} of FLYP's, with temperature scaling {scaled:.0%}. Of the "
        "fine-tuned rows only those of WiSE-FT are ahead of it in OOD accuracy, where its rank is "
        f"{first} to {last}: much of this order may be chance. The slides agree in direction; "
        f"there it is {100 * in_slides:+.1f} points, {printed[0]:.0%} and {printed[1]:.0%}."
    )


def _smoothed_wise(n: Numbers) -> str:
    row, slides = "wise-ft:e2e-ft+ls", _slides()
    tuned = [name for name in n.rows() if name != "zero-shot"]
    here, there = n.id(row, "ece"), slides[row][ID_ECE]
    claim(here < 0.5 * there, "WiSE-FT with label smoothing is better calibrated here")
    highest = here == max(n.id(name, "ece") for name in tuned)
    claim(highest and there == max(slides[name][ID_ECE] for name in tuned), "its ECE is highest")
    return (
        "WiSE-FT with label smoothing has the highest ID ECE of the fine-tuned rows, as on the "
        f"slides, but a smaller one: {here:.4f} instead of {there:.4f} (without temperature "
        "scaling)."
    )


def _temperatures(n: Numbers) -> str:
    for row in n.rows():
        helps = n.ood(row, "ece", scaled=True) < n.ood(row, "ece")
        helps_id = n.id(row, "ece", scaled=True) < n.id(row, "ece")
        claim(helps_id, f"a temperature improves the ID calibration of {row}")
        claim(helps == (n.temperature(row) > 1), f"{row}: OOD calibration improves iff T > 1")
    improved = sum(n.temperature(row) > 1 for row in n.rows())
    return (
        f"Temperature scaling lowers the ID ECE of all {len(n.rows())} rows. It lowers the OOD ECE "
        f"only of the {improved} rows that were over-confident (T above 1)."
    )


FINDINGS = (_carot, _smoothed_wise, _temperatures)
