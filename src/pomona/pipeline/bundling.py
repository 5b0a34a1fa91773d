"""How many parts go into one task."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from pomona.pipeline.context import RunContext
from pomona.store.plan import LOCAL_TASK_DIVISOR, bundles

Item = TypeVar("Item")


def in_tasks(
    context: RunContext,
    items: Iterable[Item],
    images: Callable[[Item], int],
    *,
    waits: bool = False,
) -> list[list[Item]]:
    """Bundles items for one task each: larger bundles where the source or the store answers slowly.

    Parameters
    ----------
    items : iterable
        Shards, or part numbers.
    images : callable
        How many images an item stands for.
    waits : bool
        Whether the source answers slowly; the store says so itself.
    """
    is_slow = waits or context.store.files.requests > 1
    divisor = 1 if is_slow else LOCAL_TASK_DIVISOR
    return list(bundles(items, images, context.engine.workers, divisor))
