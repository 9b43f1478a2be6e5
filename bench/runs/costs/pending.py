"""What of a plan is still to be computed."""

from __future__ import annotations

from collections.abc import Iterable

from bench.core.store import Store
from bench.runs.items import WorkItem, is_stored
from bench.runs.plan import Plan


def pending(
    plan: Plan, store: Store, goals: Iterable[WorkItem] | None = None
) -> dict[str, WorkItem]:
    """Return the items still to be computed, in order, to reach `goals` (default: all cells).

    An absent output is pending only if a missing goal needs it. Deleting old features from a store
    therefore makes nothing pending.
    """
    targets = plan.cells if goals is None else goals
    wanted: set[str] = set()
    known: dict[str, bool] = {}

    def is_missing(item: WorkItem) -> bool:
        if item.key not in known:
            known[item.key] = is_stored(item, store)
        return not known[item.key]

    queue = [item for item in targets if is_missing(item)]
    while queue:
        item = queue.pop()
        if item.key in wanted:
            continue
        wanted.add(item.key)
        queue += [i for k in item.inputs if is_missing(i := plan.items[k])]
    return {key: item for key, item in plan.items.items() if key in wanted}
