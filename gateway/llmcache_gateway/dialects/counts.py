"""Counts in an answer, such as its usage: shared out among parts of it, and added up again."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import fsum
from typing import Any


def shared(value: Any, weights: Sequence[int]) -> list[Any]:
    """Share a number out by weights, counts without loss; an object by its members, a list of objects by its items.

    Anything else is given to all.
    """
    if isinstance(value, dict):
        shares = {name: shared(item, weights) for name, item in value.items()}
        return [{name: shares[name][at] for name in value} for at in range(len(weights))]
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        items = [shared(item, weights) for item in value]
        return [[item[at] for item in items] for at in range(len(weights))]
    whole = sum(weights)
    if isinstance(value, float):
        return [value * weight / whole for weight in weights]
    if type(value) is not int:
        return [value] * len(weights)
    # Each share ends where the weights so far would have it end, rounded down: the last one ends at the whole.
    ends = [value * so_far // whole for so_far in accumulate(weights)]
    return [end - start for start, end in pairwise([0, *ends])]


def added(values: Sequence[Any]) -> Any:
    """Add up numbers, objects by their members, and lists of equal length by their items; else return the first."""
    objects = [value for value in values if isinstance(value, dict)]
    if objects:
        names = dict.fromkeys(name for one in objects for name in one)
        return {name: added([one[name] for one in objects if name in one]) for name in names}
    lists = [value for value in values if isinstance(value, list)]
    if lists and len(lists) == len(values) and len({len(one) for one in lists}) == 1:
        return [added(items) for items in zip(*lists, strict=True)]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if not numbers:
        return values[0]
    return sum(numbers) if all(isinstance(one, int) for one in numbers) else fsum(numbers)
