"""The training runs of a plan, with their histories from the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from bench.api.recipe_parts import weights_key
from bench.api.recipes import Tuned
from bench.api.trainer import Trainer, epochs_needed
from bench.core.hashing import canonical
from bench.core.store import Store
from bench.core.trainings import TrainingRecord, stored_history
from bench.runs.items import CellItem, WeightsItem
from bench.runs.plan import Plan
from bench.runs.study.rows import Row


def plan_trainings(plan: Plan, store: Store) -> Iterator[TrainingRecord]:
    """Yield each training run that the plan's rows need; a failed one is left out."""
    study, using = plan.study, _rows_by_weights(plan)
    keys: dict[Tuned, list[str]] = defaultdict(list)
    keeps: dict[Tuned, list[Tuned]] = defaultdict(list)
    for item in plan.of(WeightsItem):
        if isinstance(item.recipe, Tuned):
            keys[item.recipe.training].append(item.key)
            keeps[item.recipe.training].append(item.recipe)
    for training, own in keys.items():
        if not any(store.has("weights", key) for key in own):
            continue
        rows = {row.name: row for key in own for row in using[key]}
        alone = [name for name, row in rows.items() if row.base is None]
        history = stored_history(store, weights_key(training), own)
        # Another run may have trained for longer, for weights of a later epoch.
        if history and (
            epochs := epochs_needed(training.trainer, [r.keep for r in keeps[training]])
        ):
            history = history[:epochs]
        yield TrainingRecord(
            suite=study.suite.name,
            model=study.model,
            protocol=study.protocol.name,
            notes=study.notes,
            rows=tuple(sorted(alone or rows)),
            trainer=training.trainer.title,
            seed=training.seed,
            key=weights_key(training),
            history=history,
            images=study.suite.task.train.size,
            selection=study.suite.task.selection.size,
            settings=_settings(training.trainer),
        )


def _settings(trainer: Trainer) -> dict[str, Any]:
    """Return a trainer's hyper-parameters as plain JSON data."""
    return {n: v for n, v in canonical(trainer).items() if n not in ("type", "version")}


def training_labels(plan: Plan, pending: Iterable[str]) -> dict[str, str]:
    """Return a name for each pending training run, by the keys of its weights, for the progress.

    It has the number of the training among them, and the rows that use it: those that are not
    ensembles, if there are any.
    """
    using, keys = _rows_by_weights(plan), dict[Tuned, list[str]]()
    for key in pending:
        item = plan.items[key]
        if isinstance(item, WeightsItem) and isinstance(item.recipe, Tuned):
            keys.setdefault(item.recipe.training, []).append(key)
    found: dict[str, str] = {}
    for number, own in enumerate(keys.values(), start=1):
        rows = {row.name: row for key in own for row in using[key]}
        names = [name for name, row in rows.items() if row.base is None] or [*rows]
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        label = f"train {number} of {len(keys)}, for {', '.join(names[:2])}{more}"
        found |= dict.fromkeys(own, label)
    return found


def _rows_by_weights(plan: Plan) -> dict[str, list[Row]]:
    """Return the rows whose cells need an item, directly or through others, by the item's key."""
    found: dict[str, list[Row]] = defaultdict(list)
    done: set[tuple[str, str]] = set()
    for cell in plan.of(CellItem):
        queue = [cell.key]
        while queue:
            key = queue.pop()
            if (cell.row.name, key) not in done:
                done.add((cell.row.name, key))
                found[key].append(cell.row)
                queue += plan.items[key].inputs
    return found
