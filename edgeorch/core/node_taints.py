"""The taints of a node that follow from its conditions, as the node lifecycle controller's.

Source: pkg/controller/nodelifecycle (TaintNodesByCondition). Other taints are somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgeorch.core import pressure

NO_SCHEDULE = "NoSchedule"
_CONDITIONS = {key: name for name, key in pressure.TAINTS.items()}

Taint = dict[str, Any]


def after(taints: Iterable[Taint], held: Iterable[str], stamp: str) -> list[Taint]:
    """What is there and stays, in its order, and what comes; `held` are the conditions that hold,
    `stamp` says when."""
    wanted = {pressure.TAINTS[name] for name in held if name in pressure.TAINTS}
    kept = [each for each in taints if not _is_ours(each) or each["key"] in wanted]
    missing = wanted - {each["key"] for each in kept if _is_ours(each)}
    made = [
        {"key": key, "effect": NO_SCHEDULE, "timeAdded": stamp}
        for key in _CONDITIONS
        if key in missing
    ]
    return kept + made


def _is_ours(taint: Taint) -> bool:
    return taint.get("key") in _CONDITIONS and taint.get("effect") == NO_SCHEDULE
