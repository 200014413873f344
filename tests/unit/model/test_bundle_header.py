"""What manifests say of the bundle that they are a version of."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.lib import json
from edgeorch.model import bundle_header, bundles, kinds, schema
from edgeorch.model.bundle_header import Header

TABLE, REGISTRY = schema.load(), kinds.Registry()
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}


def _header(name: Any = "shop", sequence: Any = None, **more: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name}
    if sequence is not None:
        meta["annotations"] = {bundle_header.SEQUENCE: sequence}
    return {"apiVersion": "edgeorch.io/v1", "kind": "Bundle", "metadata": meta, **more}


def _read(*documents: Any) -> tuple[int, list[str], Header | None]:
    text = b"\n---\n".join(json.encode(each) for each in documents)
    items, causes, header = bundles.parse_all(text, TABLE, REGISTRY)
    return len(items), [str(cause) for cause in causes], header


def test_a_header_is_no_object_of_the_bundle() -> None:
    assert _read(CONFIG) == (1, [], None)
    assert _read(_header(), CONFIG) == (1, [], Header("shop"))
    assert _read(CONFIG, _header(sequence="42")) == (1, [], Header("shop", 42))
    listed, causes, header = bundles.parse_all(
        json.encode([_header(sequence="7"), CONFIG]), TABLE, REGISTRY
    )
    assert (len(listed), causes, header) == (1, [], Header("shop", 7))


@pytest.mark.parametrize(
    ("documents", "told"),
    [
        ([_header(sequence=42), CONFIG], "metadata.annotations[edgeorch.io/sequence]: Invalid"),
        ([_header(sequence="-1"), CONFIG], "must be a string of 1 to 18 decimal digits"),
        ([_header(sequence="1" * 19), CONFIG], "must be a string of 1 to 18 decimal digits"),
        ([_header(sequence="\u0664"), CONFIG], "must be a string of 1 to 18 decimal digits"),
        ([_header(name=None), CONFIG], "document 1 (Bundle) metadata.name: Required value"),
        ([_header(), CONFIG, _header()], "document 3: a second Bundle"),
        ([_header(spec={}), CONFIG], "document 1 (Bundle) spec: Forbidden"),
        ([{**_header(), "metadata": 1}, CONFIG], "metadata.name: Required value"),
        ([_header()], "manifests: Required value: at least one object"),
    ],
)
def test_what_is_wrong_with_one_is_told(documents: list[Any], told: str) -> None:
    _, causes, _ = _read(*documents)
    assert len(causes) == 1
    assert told in causes[0]


def test_what_keeps_the_sequences_is_in_no_bundle() -> None:
    _, namespace, name = bundles.SEQUENCES
    own = {**CONFIG, "metadata": {"name": name, "namespace": namespace}}
    _, causes, _ = _read(own)
    assert causes == [
        "document 1 (ConfigMap kube-system/bundle-sequences): Forbidden: it is the device's own"
    ]
