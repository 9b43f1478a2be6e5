"""Classifiers made elsewhere, used as they are: the ends of ensembles for which nothing is trained.

A study with `Endpoints` takes its zero-shot classifier and its fine-tuned bases from there.
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
    """A row that is a classifier made elsewhere.

    Attributes
    ----------
    classifier : its recipe.
    trained_on : in words, what it was trained on.
    """

    kind: ClassVar[str] = "Given"
    name: ClassVar[str] = "given"
    version: ClassVar[int] = 1

    classifier: Recipe
    trained_on: str

    def recipe(self, models: Models) -> Recipe:
        """The classifier, whatever the models."""
        return self.classifier


@dataclass(frozen=True)
class Endpoints:
    """The zero-shot classifier and the fine-tuned bases, by the names of their rows.

    `model` is how reports name what they are.
    """

    model: str
    zero_shot: Classifier
    bases: Mapping[str, GivenClassifier]

    def applied(self, row: Row) -> Row:
        """The row with its method, or its base's, replaced by what is given under that name.

        Raises InputError for ``NAME@EPOCH`` or ``NAME+ls`` of a given NAME.
        """
        if row.base is not None:
            return replace(row, base=self.applied(row.base))
        name = re.split("[@+]", row.label)[0]
        if name in self.bases and row.label not in self.bases:
            raise InputError(f"{row.label}: {name} was trained elsewhere, as it is: leave it out")
        if row.label in self.bases:
            return replace(row, method=self.bases[row.label])
        return row

    def refuse(self, owners: Iterable[str]) -> None:
        """Raise InputError if hyper-parameters are given of what is not trained here."""
        for owner in owners:
            if owner in self.bases:
                raise InputError(f"--set {owner}: it was trained elsewhere: leave it out")


def leak_reason(recipe: Recipe, task: Task) -> str | None:
    """Why nothing may be chosen on the task's selection split for `recipe`; None if it may be.

    A released checkpoint may have been trained on any data whose fingerprint it does not name.
    """
    match recipe:
        case Imported():
            if not recipe.trained_on or task.selection.fingerprint in recipe.unseen:
                return None
            return f"the imported checkpoint, trained on {recipe.trained_on}, may have seen it"
        case Tuned():
            return leak_reason(recipe.start, task)
        case Merged():
            found = (leak_reason(part, task) for part in recipe.parts)  # type: ignore[arg-type]
            return next((reason for reason in found if reason is not None), None)
        case _:
            return None
