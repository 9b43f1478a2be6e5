"""External classifiers used as the endpoints of ensembles, without training.

A study with `Endpoints` takes its zero-shot classifier and its fine-tuned bases from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from bench.api.dataset import Task
from bench.api.method import Method, Models
from bench.api.recipes import Classifier, Imported, Merged, Recipe, Tuned
from bench.core.errors import InputError

if TYPE_CHECKING:
    from bench.runs.study.rows import Row


@dataclass(frozen=True)
class GivenClassifier(Method):
    """A row that is an external classifier.

    Attributes
    ----------
    classifier : the recipe of the classifier.
    trained_on : description of its training data.
    """

    kind: ClassVar[str] = "Given"
    name: ClassVar[str] = "given"
    version: ClassVar[int] = 1

    classifier: Recipe
    trained_on: str

    def recipe(self, models: Models) -> Recipe:
        """Return the classifier, whatever `models` is."""
        return self.classifier


@dataclass(frozen=True)
class Endpoints:
    """The zero-shot classifier and the fine-tuned bases, which are keyed by row name.

    `model` is the name of the model in reports.
    """

    model: str
    zero_shot: Classifier
    bases: Mapping[str, GivenClassifier]

    def applied(self, row: Row) -> Row:
        """Return the row with its method, or its base's, replaced by the external one of its name.

        Raises InputError for ``NAME@EPOCH`` or ``NAME+ls`` if NAME is external.
        """
        if row.base is not None:
            return replace(row, base=self.applied(row.base))
        name = re.split("[@+]", row.label)[0]
        if name in self.bases and row.label not in self.bases:
            raise InputError(
                f"{row.label}: {name} was trained elsewhere, so it has no other epochs or losses: "
                f"use {name}"
            )
        if row.label in self.bases:
            return replace(row, method=self.bases[row.label])
        return row

    def refuse(self, owners: Iterable[str]) -> None:
        """Raise InputError if `owners`, the methods of ``--set``, include an external base."""
        for owner in owners:
            if owner in self.bases:
                raise InputError(
                    f"--set {owner}: {owner} was trained elsewhere, so its hyper-parameters cannot "
                    "be changed: leave the option out"
                )


def leak_reason(recipe: Recipe, task: Task) -> str | None:
    """Return why `recipe` may have seen the task's selection split, None if it has not.

    If it may have, nothing can be chosen on that split. A released checkpoint may have been trained
    on any split whose fingerprint its import does not list as unseen.
    """
    match recipe:
        case Imported():
            if not recipe.trained_on or task.selection.fingerprint in recipe.unseen:
                return None
            return f"the imported checkpoint, trained on {recipe.trained_on}, may have seen it"
        case Tuned():
            return leak_reason(recipe.start, task)
        case Merged():
            reasons = (leak_reason(part, task) for part in recipe.parts)  # type: ignore[arg-type]
            return next((reason for reason in reasons if reason is not None), None)
        case _:
            return None
