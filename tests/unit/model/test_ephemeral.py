"""What the `ephemeralcontainers` subresource of a pod lets through, in Kubernetes' words."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.model import defaults, kinds, lifecycle, validation
from edgeorch.model.kinds import Object

from . import made

PATH = "spec.ephemeralContainers"
WHY = "Forbidden: cannot be set for an Ephemeral Container"


def written(old: Object, *listed: Object, **elsewhere: Any) -> Object:
    spec = {**old["spec"], "ephemeralContainers": [dict(each) for each in listed], **elsewhere}
    new = lifecycle.prepare_update(
        kinds.POD, {**old, "spec": spec}, old, subresource="ephemeralcontainers"
    )
    defaults.apply(kinds.POD, new)
    return new


def told(new: Object, old: Object) -> list[str]:
    found = validation.update(kinds.POD, new, old, "ephemeralcontainers")
    return [str(cause).removeprefix(PATH) for cause in found]


def debugger(**fields: Any) -> Object:
    return {"name": "dbg", "image": "busybox", **fields}


def test_one_is_added_and_nothing_else_changes() -> None:
    old = made.pod()
    new = written(old, debugger(targetContainerName="c"), nodeName="elsewhere", hostPID=True)

    assert told(new, old) == []
    assert new["metadata"]["generation"] == old["metadata"]["generation"] + 1
    assert {k: v for k, v in new["spec"].items() if k != "ephemeralContainers"} == old["spec"]
    added = new["spec"]["ephemeralContainers"][0]
    assert added["terminationMessagePolicy"] == "File"
    assert told(written(new, *new["spec"]["ephemeralContainers"], debugger(name="d2")), new) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"name": "c"}, ['[0].name: Duplicate value: "c"'], id="a container's name"),
        pytest.param({"name": "i"}, ['[0].name: Duplicate value: "i"'], id="an init container's"),
        pytest.param(
            {"targetContainerName": "x"},
            ['[0].targetContainerName: Not found: "x"'],
            id="unknown target",
        ),
        pytest.param({"ports": [{"containerPort": 1, "protocol": "TCP"}]}, [f"[0].ports: {WHY}"],
                     id="ports"),
        pytest.param({"lifecycle": {"preStop": {"exec": {"command": ["a"]}}}},
                     [f"[0].lifecycle: {WHY}"], id="lifecycle"),
        pytest.param({"readinessProbe": {"exec": {"command": ["a"]}}},
                     [f"[0].readinessProbe: {WHY}"], id="probe"),
        pytest.param({"resources": {"limits": {"cpu": "1"}}}, [f"[0].resources: {WHY}"],
                     id="resources"),
        pytest.param({"restartPolicy": "Always"}, [f"[0].restartPolicy: {WHY}"],
                     id="restart policy"),
    ],
)  # fmt: skip
def test_what_it_may_not_be(fields: Object, expected: list[str]) -> None:
    old = made.pod(initContainers=[{"name": "i", "image": "busybox"}])

    assert told(written(old, debugger(**fields)), old) == expected


def test_one_that_is_there_stays_as_it_is() -> None:
    old = written(made.pod(), debugger())

    assert told(written(old), old) == [
        ': Forbidden: existing ephemeral containers "dbg" may not be removed\n'
    ]
    changed = told(written(old, debugger(image="other")), old)
    assert len(changed) == 1
    assert changed[0].startswith(
        ': Forbidden: existing ephemeral containers "dbg" may not be changed\n- image: "busybox"'
    )


def test_an_ordinary_update_does_not_add_any() -> None:
    old = made.pod()
    new = {**old, "spec": {**old["spec"], "ephemeralContainers": [debugger()]}}
    defaults.apply(kinds.POD, new)
    found = [str(cause) for cause in validation.update(kinds.POD, new, old)]

    assert len(found) == 1
    assert "pod updates may not change fields other than" in found[0]
