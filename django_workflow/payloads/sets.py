"""Sets are stored in the order of their items' texts.

Python's own order of a set differs between processes, and the same value must have the same text in each of them: a
replayed call is recognized by its text. Pydantic dumps a set in Python's order, hence the second walk over what it made.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, RootModel

from django_workflow.payloads.plain import dumps


def in_one_order(live: Any, tree: Any) -> Any:
    """Return `tree`, the JSON value that `live` was dumped as, with every list that stands for a set in order.

    Where a serializer made something of another shape there is nothing to compare, and it stays as it is.
    """
    if not isinstance(tree, (list, dict)):
        return tree
    while isinstance(live, RootModel):
        live = live.root
    if isinstance(tree, dict):
        return _dict_in_one_order(live, tree)
    if not isinstance(live, _LISTED) or len(live) != len(tree):
        return tree
    items = [in_one_order(part, item) for part, item in zip(live, tree, strict=True)]
    return _by_text(items, lambda item: item) if isinstance(live, SETS) else items


def list_of_set(checked: Any, tree: Any) -> tuple[Any, Any]:
    """Return a list or tuple that pydantic made of a set, and the JSON value of it, both in order."""
    if type(checked) not in (list, tuple) or not isinstance(tree, list) or len(checked) != len(tree):
        return checked, tree
    pairs = _by_text(list(zip(checked, tree, strict=True)), lambda pair: pair[1])
    return type(checked)(part for part, _ in pairs), [item for _, item in pairs]


SETS = (set, frozenset)
_LISTED = (list, tuple, collections.deque, *SETS)


def _dict_in_one_order(live: Any, tree: dict[str, Any]) -> dict[str, Any]:
    if isinstance(live, Mapping):
        if len(live) != len(tree):
            return tree
        parts = zip(live.values(), tree.items(), strict=True)
        return {name: in_one_order(part, item) for part, (name, item) in parts}
    if isinstance(live, BaseModel) or dataclasses.is_dataclass(live):
        return {name: in_one_order(getattr(live, name, None), item) for name, item in tree.items()}
    return tree


def _by_text(items: list[Any], json_of: Callable[[Any], Any]) -> list[Any]:
    try:
        return sorted(items, key=lambda item: dumps(json_of(item)))
    except ValueError:
        return items  # a number that JSON cannot hold, which is refused when the whole is written
