"""Claims, volumes and classes are checked in Kubernetes' words, when made and when changed."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from edgeorch.model import kinds, unsupported, validation
from edgeorch.model.kinds import Object
from tests.unit.model import made

CLAIM, VOLUME = kinds.PERSISTENT_VOLUME_CLAIM, kinds.PERSISTENT_VOLUME
CLASS = kinds.STORAGE_CLASS
AFFINITY = {
    "required": {
        "nodeSelectorTerms": [
            {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]}
        ]
    }
}


def claim(**spec: Any) -> Object:
    base = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return made.prepared(
        CLAIM, {"metadata": {"name": "c", "namespace": "default"}, "spec": {**base, **spec}}
    )


def volume(**spec: Any) -> Object:
    base = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
        "hostPath": {"path": "/mnt"},
    }
    return made.prepared(VOLUME, {"metadata": {"name": "v"}, "spec": {**base, **spec}})


def storage_class(**fields: Any) -> Object:
    return made.prepared(CLASS, {"metadata": {"name": "s"}, "provisioner": "a.io/b", **fields})


def told(kind: kinds.Kind, obj: Object) -> list[str]:
    return [str(cause) for cause in validation.create(kind, obj)]


def changed(kind: kinds.Kind, obj: Object, **spec: Any) -> list[str]:
    new = copy.deepcopy(obj)
    new.get("spec", new).update(spec)
    return [str(cause) for cause in validation.update(kind, new, obj)]


MODES = '"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"'


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, []),
        (
            {"accessModes": []},
            ["spec.accessModes: Required value: at least 1 access mode is required"],
        ),
        (
            {"accessModes": ["Any"]},
            [f'spec.accessModes: Unsupported value: "Any": supported values: {MODES}'],
        ),
        (
            {"accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]},
            ["spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"],
        ),
        ({"resources": {}}, ["spec.resources[storage]: Required value"]),
        (
            {"resources": {"requests": {"storage": "0"}}},
            ['spec.resources[storage]: Invalid value: "0": must be greater than zero'],
        ),
        (
            {"volumeMode": "Tape"},
            [
                ('spec.volumeMode: Unsupported value: "Tape": supported values: "Block",'
                ' "Filesystem"'),
            ],
        ),
        ({"storageClassName": ""}, []),
        (
            {"dataSource": {"kind": "Disk", "name": "x"}},
            [
                ('spec.dataSource: Invalid value: "Disk": must be \'PersistentVolumeClaim\' when'
                " referencing the default apiGroup"),
            ],
        ),
    ],
)  # fmt: skip
def test_claims(spec: Object, wanted: list[str]) -> None:
    assert told(CLAIM, claim(**spec)) == wanted


IMMUTABLE = (
    "spec: Forbidden: spec is immutable after creation except resources.requests and"
    " volumeAttributesClassName for bound claims"
)


def test_a_claim_keeps_what_it_asked_for() -> None:
    held = claim(storageClassName="local-path", volumeName="v")
    bigger = {"requests": {"storage": "2Gi"}}
    assert changed(CLAIM, held, accessModes=["ReadWriteMany"]) == [IMMUTABLE]
    assert changed(CLAIM, held, storageClassName="other") == [IMMUTABLE]
    assert changed(CLAIM, held, volumeName="w") == [IMMUTABLE]
    assert changed(CLAIM, held, resources=bigger) == [IMMUTABLE]
    held["status"] = {"phase": "Bound", "capacity": {"storage": "1Gi"}}
    assert changed(CLAIM, held, resources=bigger) == []
    assert changed(CLAIM, held, resources={"requests": {"storage": "512Mi"}}) == [
        "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
    ]
    open_claim = claim()
    assert changed(CLAIM, open_claim, volumeName="v", storageClassName="local-path") == []


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, []),
        ({"accessModes": []}, ["spec.accessModes: Required value"]),
        (
            {"capacity": {"storage": "1Gi", "cpu": "1"}},
            [
                ('spec.capacity: Unsupported value: {"storage":"1Gi","cpu":"1"}: supported values:'
                ' "storage"'),
            ],
        ),
        ({"hostPath": None}, ["spec: Required value: must specify a volume type"]),
        (
            {"nfs": {"server": "s", "path": "/"}},
            ["spec.nfs: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            {"hostPath": None, "local": {"path": "/mnt/a"}},
            ["spec.nodeAffinity: Required value: Local volume requires node affinity"],
        ),
        ({"hostPath": None, "local": {"path": "/mnt/a"}, "nodeAffinity": AFFINITY}, []),
        (
            {"hostPath": {"path": "/mnt/../etc"}},
            ['spec.hostPath.path: Invalid value: "/mnt/../etc": must not contain \'..\''],
        ),
        (
            {"persistentVolumeReclaimPolicy": "Burn"},
            [
                ('spec.persistentVolumeReclaimPolicy: Unsupported value: "Burn": supported values:'
                ' "Delete", "Recycle", "Retain"'),
            ],
        ),
        (
            {"hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"},
            [
                (
                    "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a"
                    " hostPath mount of '/'"
                ),
            ],
        ),
    ],
)  # fmt: skip
def test_volumes(spec: Object, wanted: list[str]) -> None:
    assert told(VOLUME, volume(**spec)) == wanted


def test_a_volume_keeps_its_place() -> None:
    assert changed(VOLUME, volume(), hostPath={"path": "/other"}) == [
        (
            "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after"
            " creation"
        ),
    ]
    assert changed(VOLUME, volume(), persistentVolumeReclaimPolicy="Delete") == []
    assert changed(VOLUME, volume(), nodeAffinity=AFFINITY) == []


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, []),
        ({"provisioner": ""}, ["provisioner: Required value"]),
        (
            {"volumeBindingMode": "Later"},
            [
                ('volumeBindingMode: Unsupported value: "Later": supported values: "Immediate",'
                ' "WaitForFirstConsumer"'),
            ],
        ),
        (
            {"reclaimPolicy": "Recycle"},
            ['reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"'],
        ),
    ],
)  # fmt: skip
def test_classes(fields: Object, wanted: list[str]) -> None:
    assert told(CLASS, storage_class(**fields)) == wanted


def test_a_class_stays_what_it_is() -> None:
    old = storage_class()
    assert changed(CLASS, old, provisioner="c.io/d") == [
        "provisioner: Forbidden: updates to provisioner are forbidden."
    ]
    assert changed(CLASS, old, reclaimPolicy="Retain") == [
        "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden."
    ]
    assert changed(CLASS, old, allowVolumeExpansion=True) == []


def test_the_claim_of_an_ephemeral_volume_is_checked_too() -> None:
    template: Object = {"metadata": {"name": "x"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    pod = made.pod(
        volumes=[{"name": "v", "ephemeral": {"volumeClaimTemplate": template}}],
    )
    path = "spec.volumes[0].ephemeral.volumeClaimTemplate"
    assert told(kinds.POD, pod) == [
        f"{path}.metadata.name: Forbidden: cannot be set for an ephemeral volume",
        f"{path}.spec.resources[storage]: Required value",
    ]


def test_what_is_not_acted_on_is_told() -> None:
    source = {"kind": "PersistentVolumeClaim", "name": "x"}
    assert unsupported.ignored(CLAIM, claim(dataSource=source)) == ["spec.dataSource"]
    nfs = volume(hostPath=None, nfs={"server": "s", "path": "/"}, mountOptions=["ro"])
    assert unsupported.ignored(VOLUME, nfs) == ["spec.nfs", "spec.mountOptions"]
    assert unsupported.ignored(CLASS, storage_class(parameters={"a": "b"})) == ["parameters"]
    whole = {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"volumeClaimTemplates": [claim(dataSource=source)]},
    }
    assert unsupported.ignored(kinds.STATEFUL_SET, made.prepared(kinds.STATEFUL_SET, whole)) == [
        "spec.volumeClaimTemplates[0].spec.dataSource"
    ]
