"""Pod templates compared and hashed: which ReplicaSet belongs to which revision.

Two templates are the same revision when they are equal without the pod-template-hash label, absent
and empty fields alike. The hash only has to be stable and fit for a name; it is FNV-1a over the
canonical template, written in the letters that Kubernetes allows itself for generated names.
"""

from __future__ import annotations

from typing import Any

from edgeorch.lib import json
from edgeorch.model.kinds import Object

LABEL = "pod-template-hash"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def same(one: Object, other: Object) -> bool:
    return bool(_normal(one) == _normal(other))


def compute(template: Object, collision_count: int | None) -> str:
    data = json.canonical(_normal(template))
    if collision_count is not None:
        data += collision_count.to_bytes(8, "little")
    return safe_encode(str(fnv32a(data)))


def fnv32a(data: bytes) -> int:
    """http://www.isthe.com/chongo/tech/comp/fnv/"""
    found = 0x811C9DC5
    for byte in data:
        found = (found ^ byte) * 0x01000193 & 0xFFFFFFFF
    return found


def safe_encode(text: str) -> str:
    """No vowels, no look-alikes: no word and no misreading comes of it."""
    return "".join(_LETTERS[ord(letter) % len(_LETTERS)] for letter in text)


def _normal(template: Object) -> Any:
    meta = dict(template.get("metadata") or {})
    labels = dict(meta.get("labels") or {})
    labels.pop(LABEL, None)
    meta["labels"] = labels
    return _without_empty({**template, "metadata": meta})


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        found = {key: _without_empty(each) for key, each in value.items()}
        return {key: each for key, each in found.items() if each not in (None, {}, [])}
    if isinstance(value, list):
        return [_without_empty(each) for each in value]
    return value
