"""HorizontalPodAutoscalers: what is refused, filled in, shown and told."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from edgeorch.model import conversion, kinds, tables, unsupported, validation
from tests.unit.model import made

Object = dict[str, Any]
KIND = kinds.AUTOSCALER


def target(kind: str = "Utilization", **amounts: Any) -> Object:
    return {"type": kind, **amounts}


def resource(name: str = "cpu", **found: Any) -> Object:
    wanted = target(**found) if found else target(averageUtilization=50)
    return {"type": "Resource", "resource": {"name": name, "target": wanted}}


def container(**source: Any) -> Object:
    found = {"name": "cpu", "container": "app", "target": target(averageUtilization=50), **source}
    return {"type": "ContainerResource", "containerResource": found}


def rules(**found: Any) -> Object:
    return {"behavior": {"scaleDown": found}}


def one(**policy: Any) -> Object:
    return rules(policies=[{"type": "Pods", "value": 1, "periodSeconds": 60, **policy}])


SOURCES = 'supported values: "ContainerResource", "External", "Object", "Pods", "Resource"'
EITHER = "must set either a target raw value or a target utilization"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, [], id="valid"),
        pytest.param({"metrics": [resource(), container()]}, [], id="two metrics"),
        pytest.param(
            {"minReplicas": 0},
            ["spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"], id="min",
        ),
        pytest.param(
            {"maxReplicas": 0},
            [
                "spec.maxReplicas: Invalid value: 0: must be greater than 0",
                ("spec.maxReplicas: Invalid value: 0: must be greater than or equal to "
                "`minReplicas`"),
            ], id="max",
        ),
        pytest.param(
            {"scaleTargetRef": {"kind": "", "name": "a/b"}},
            [
                "spec.scaleTargetRef.kind: Required value",
                'spec.scaleTargetRef.name: Invalid value: "a/b": may not contain \'/\'',
            ], id="target",
        ),
        pytest.param(
            {"metrics": [{"type": "Odd"}]},
            [f'spec.metrics[0].type: Unsupported value: "Odd": {SOURCES}'], id="source",
        ),
        pytest.param(
            {"metrics": [{"type": "Resource"}]},
            [
                ("spec.metrics[0].resource: Required value: must populate information for the "
                "given metric source")
            ], id="no source",
        ),
        pytest.param(
            {"metrics": [{**resource(), "containerResource": container()["containerResource"]}]},
            [
                ("spec.metrics[0].containerResource: Forbidden: must populate the given metric "
                "source only")
            ], id="two sources",
        ),
        pytest.param(
            {"metrics": [resource(kind="Value", value="1")]},
            [f"spec.metrics[0].resource.target.averageUtilization: Required value: {EITHER}"],
            id="a value is no target of a resource",
        ),
        pytest.param(
            {"metrics": [resource(kind="Odd", averageUtilization=0, averageValue="0")]},
            [
                ('spec.metrics[0].resource.target.type: Invalid value: "Odd": must be either '
                "Utilization, Value, or AverageValue"),
                ('spec.metrics[0].resource.target.averageValue: Invalid value: "0": must be '
                "positive"),
                ("spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be "
                "greater than 0"),
                ("spec.metrics[0].resource.target.averageValue: Forbidden: may not set both a "
                "target raw value and a target utilization"),
            ], id="targets",
        ),
        pytest.param(
            {"metrics": [container(container="")]},
            [
                ("spec.metrics[0].containerResource.container: Required value: must specify a "
                "container")
            ], id="container",
        ),
        pytest.param(
            rules(stabilizationWindowSeconds=3601, selectPolicy="Odd", tolerance="-1"),
            [
                ("spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 3601: must be "
                "less than or equal to 3600"),
                ('spec.behavior.scaleDown.selectPolicy: Unsupported value: "Odd": supported '
                'values: "Disabled", "Max", "Min"'),
                ('spec.behavior.scaleDown.tolerance: Invalid value: "-1": must be greater than or '
                "equal to 0"),
            ], id="rules",
        ),
        pytest.param(
            rules(policies=[]),
            [
                ("spec.behavior.scaleDown.policies: Required value: must specify at least one "
                "Policy")
            ], id="no policies",
        ),
        pytest.param(
            one(type="Odd", value=0, periodSeconds=1801),
            [
                ('spec.behavior.scaleDown.policies[0].type: Unsupported value: "Odd": supported '
                'values: "Percent", "Pods"'),
                ("spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater "
                "than zero"),
                ("spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 1801: must be "
                "less than or equal to 1800"),
            ], id="policy",
        ),
    ],
)  # fmt: skip
def test_validation(spec: Object, expected: list[str]) -> None:
    assert [str(each) for each in validation.create(KIND, made.autoscaler(**spec))] == expected


def test_defaults() -> None:
    assert made.autoscaler()["spec"]["minReplicas"] == 1
    assert made.autoscaler()["spec"]["metrics"] == [resource(averageUtilization=80)]
    assert "behavior" not in made.autoscaler()["spec"]
    percent = {"type": "Percent", "value": 100, "periodSeconds": 15}
    assert made.autoscaler(**rules(stabilizationWindowSeconds=60))["spec"]["behavior"] == {
        "scaleUp": {
            "stabilizationWindowSeconds": 0,
            "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, percent],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": 60,
            "selectPolicy": "Max",
            "policies": [percent],
        },
    }


def test_only_what_nothing_measures_is_told() -> None:
    wanted = made.autoscaler(metrics=[resource(), container()], **one())
    assert unsupported.ignored(KIND, wanted) == []
    source = {"metric": {"name": "x"}, "target": target("AverageValue", averageValue="1")}
    custom = made.autoscaler(metrics=[{"type": "Pods", "pods": source}])
    assert unsupported.ignored(KIND, custom) == ["spec.metrics[0].pods"]


MEASURED = {
    "type": "Resource",
    "resource": {"name": "cpu", "current": {"averageUtilization": 20, "averageValue": "20m"}},
}


@pytest.mark.parametrize(
    ("metrics", "measured", "expected"),
    [
        ([], None, "cpu: <unknown>/80%"),
        ([resource()], [MEASURED], "cpu: 20%/50%"),
        ([resource()], [{"type": ""}], "cpu: <unknown>/50%"),
        ([resource(kind="AverageValue", averageValue="1")], [MEASURED], "cpu: 20m/1"),
        ([container()], [], "cpu: <unknown>/50%"),
        (
            [resource(), resource("memory"), container()],
            [MEASURED],
            "cpu: 20%/50%, memory: <unknown>/50% + 1 more...",
        ),
    ],
)
def test_targets_as_listed(metrics: list[Object], measured: Any, expected: str) -> None:
    obj = made.autoscaler(metrics=metrics)
    obj["status"] = {"currentMetrics": measured, "currentReplicas": 2}
    now = datetime.datetime(2026, 1, 1, 0, 5, tzinfo=datetime.UTC)
    row = tables.row(KIND, obj, now)
    assert row == ["web", "Deployment/web", expected, "1", 5, 2, "5m"]


def test_version_one_shows_what_version_two_measures() -> None:
    obj = made.autoscaler(metrics=[resource(), resource("memory")], **one())
    obj["status"] = {"currentMetrics": [MEASURED], "currentReplicas": 2, "desiredReplicas": 2}
    shown = conversion.shown(kinds.AUTOSCALER_V1, obj)
    assert shown["spec"]["targetCPUUtilizationPercentage"] == 50
    assert shown["status"]["currentCPUUtilizationPercentage"] == 20
    again = conversion.stored(kinds.AUTOSCALER_V1, shown, KIND)
    assert again["spec"] == obj["spec"]
