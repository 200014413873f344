"""Paths name what is asked for."""

from __future__ import annotations

import pytest

from edgeorch.api import paths
from edgeorch.model import errors, kinds

REGISTRY = kinds.Registry()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/pods", ("pods", None, "", "")),
        ("/api/v1/namespaces/a/pods", ("pods", "a", "", "")),
        ("/api/v1/namespaces/a/pods/p/log", ("pods", "a", "p", "log")),
        ("/api/v1/namespaces", ("namespaces", None, "", "")),
        ("/api/v1/namespaces/a", ("namespaces", None, "a", "")),
        ("/api/v1/namespaces/a/finalize", ("namespaces", None, "a", "finalize")),
        ("/api/v1/namespaces/a/status", ("namespaces", None, "a", "status")),
        ("/api/v1/nodes/n/status", ("nodes", None, "n", "status")),
        ("/apis/apps/v1/namespaces/a/deployments/d", ("deployments.apps", "a", "d", "")),
        ("/api/v1/namespaces/a/pods/%2F", ("pods", "a", "/", "")),
    ],
)
def test_known_paths(path: str, expected: tuple[str, str | None, str, str]) -> None:
    target = paths.target(REGISTRY, paths.segments(path))
    found = (target.kind.resource, target.namespace, target.name, target.subresource)
    assert found == expected


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/sprockets",
        "/api/v2/pods",
        "/api/v1/pods/p",
        "/api/v1/namespaces/a/nodes",
        "/api/v1/namespaces/a/pods/p/nothing",
        "/api/v1/namespaces/a/pods/p/log/more",
        "/apis/apps/v1/namespaces/a/pods",
    ],
)
def test_unknown_paths_are_404(path: str) -> None:
    with pytest.raises(errors.StatusError) as caught:
        paths.target(REGISTRY, paths.segments(path))
    assert caught.value.code == 404
