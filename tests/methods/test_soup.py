"""Model soups: uniform and greedy."""

from __future__ import annotations

from dataclasses import replace

from bench.api.recipe_parts import reseeded
from bench.api.recipes import Merged
from bench.api.registry import methods
from bench.testing.fakes import fake_models

MODELS = fake_models(tuned=False)


def test_soups_have_the_seeds_they_name() -> None:
    method = methods()["soup"](members=(3, 5))
    models = replace(MODELS, base=methods()["e2e-ft"]().recipe(MODELS))
    (soup,) = method.needs(models, {})
    assert isinstance(soup, Merged)
    assert soup.parts == tuple(reseeded(models.base, s) for s in (3, 5))
    assert soup.weights == (0.5, 0.5)
    assert method.needs(replace(models, base=reseeded(models.base, 9)), {}) == (soup,)


def test_a_greedy_soup_takes_what_does_no_harm() -> None:
    soup = methods()["greedy-soup"](members=(0, 1, 2))
    candidates = soup.candidates()
    assert len(candidates) == 7

    def taken(**accuracy: float) -> set[str]:
        def of(choice: object) -> float:
            names = "".join(str(s) for s in range(3) if choice[f"seed {s}"])  # type: ignore[index]
            return accuracy[f"s{names}"]

        best = soup.choose([of(c) for c in candidates], [1.0] * 7, lambda *_: -1)
        return {name for name, is_in in candidates[best].items() if is_in}

    alone = {"s0": 0.5, "s1": 0.7, "s2": 0.6}
    both = {"s01": 0.9, "s02": 0.9, "s012": 0.9}
    assert taken(**alone, **both, s12=0.6) == {"seed 1", "seed 0"}
    assert taken(**alone, **both, s12=0.7) == {"seed 1", "seed 2", "seed 0"}
    assert taken(**alone, s01=0.1, s02=0.9, s12=0.1, s012=0.9) == {"seed 1"}
