"""The client is told of exactly the fields that no code reads."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.model import kinds, unsupported


def _deployment(**container: Any) -> dict[str, Any]:
    pod = {"containers": [{"name": "web", "image": "nginx", **container}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "whatever": 1},
        "spec": {"replicas": 3, "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod}},
        "status": {"anything": 1},
    }


def test_what_is_acted_on_gives_no_warning() -> None:
    probe = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5}
    resources = {"limits": {"cpu": "200m"}, "requests": {"memory": "64Mi"}}
    obj = _deployment(livenessProbe=probe, readinessProbe=probe, resources=resources)
    assert unsupported.ignored(kinds.DEPLOYMENT, obj) == []


def test_a_field_deep_in_a_template_is_named_with_its_path() -> None:
    obj = _deployment(resizePolicy=[{"resourceName": "cpu", "restartPolicy": "NotRequired"}])
    assert unsupported.ignored(kinds.DEPLOYMENT, obj) == [
        "spec.template.spec.containers[0].resizePolicy"
    ]


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        pytest.param("preemptionPolicy", "PreemptLowerPriority", False, id="the-usual-policy"),
        pytest.param("preemptionPolicy", "Never", False, id="never-putting-out"),
        pytest.param("resourceClaims", None, False, id="null"),
        pytest.param("resourceClaims", [{"name": "a"}], True, id="value"),
        pytest.param("resourceClaims", [], False, id="empty-list"),
    ],
)
def test_a_value_that_asks_for_what_happens_anyway_is_not_worth_a_word(
    field: str, value: Any, told: bool
) -> None:
    obj = {"metadata": {}, "spec": {"containers": [], field: value}}
    assert unsupported.ignored(kinds.POD, obj) == ([f"spec.{field}"] if told else [])


def test_data_kinds_have_nothing_to_ignore() -> None:
    assert unsupported.ignored(kinds.CONFIG_MAP, {"metadata": {}, "data": {"a": "b"}}) == []
