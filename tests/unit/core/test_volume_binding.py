"""Claims and volumes find each other: by table, and whatever comes by property."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeorch.controllers import persistent_volumes as changes
from edgeorch.core import local_path, storage_protection, volume_binding
from edgeorch.model import storage, views

Object = dict[str, Any]
ROOT = "/var/lib/edgeorch/storage"
NODE = views.Node(metadata=views.Meta(name="edge", labels={"kubernetes.io/hostname": "edge"}))
LOCAL: Object = local_path.storage_class()
IMMEDIATE = {**LOCAL, "metadata": {"name": "now"}, "volumeBindingMode": "Immediate"}
OTHER = {"metadata": {"name": "other"}, "provisioner": "x.io/y", "volumeBindingMode": "Immediate"}
MANUAL = {
    "metadata": {"name": "manual"},
    "provisioner": "kubernetes.io/no-provisioner",
    "volumeBindingMode": "WaitForFirstConsumer",
}


def claim(name: str = "data", *, size: str = "1Gi", **spec: Any) -> Object:
    annotations = spec.pop("annotations", {})
    meta: Object = {"name": name, "namespace": "ns", "uid": f"uid-{name}"}
    meta |= {"annotations": annotations, **spec.pop("meta", {})}
    found = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
        "storageClassName": "",
        **spec,
    }
    return {"metadata": meta, "spec": found, "status": {"phase": "Pending"}}


def volume(name: str = "pv", *, size: str = "1Gi", phase: str = "Available", **spec: Any) -> Object:
    meta = {"name": name, "uid": f"uid-{name}", "annotations": spec.pop("annotations", {})}
    meta |= spec.pop("meta", {})
    found = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": size},
        "hostPath": {"path": f"/mnt/{name}"},
        **spec,
    }
    return {"metadata": meta, "spec": found, "status": {"phase": phase}}


def ref(name: str = "data", uid: str = "") -> Object:
    return {"namespace": "ns", "name": name, **({"uid": uid} if uid else {})}


def bound(name: str, to: str, **spec: Any) -> Object:
    done = {volume_binding.BIND_COMPLETED: "yes"}
    found = claim(name, volumeName=to, annotations=done, **spec)
    return {**found, "status": {"phase": "Bound"}}


def planned(
    claims: list[Object], volumes: list[Object], classes: list[Object]
) -> list[volume_binding.Action]:
    seen = volume_binding.Seen(
        claims=[msgspec.convert(each, storage.PersistentVolumeClaim) for each in claims],
        volumes=[msgspec.convert(each, storage.PersistentVolume) for each in volumes],
        classes={
            each["metadata"]["name"]: msgspec.convert(each, storage.StorageClass)
            for each in classes
        },
        node=NODE,
        root=ROOT,
    )
    return volume_binding.plan(seen)


def shown(actions: list[volume_binding.Action]) -> list[str]:
    """Each action in a few words."""
    found = []
    for action in actions:
        match action:
            case volume_binding.Tell():
                found.append(f"{action.kind} {action.reason}: {action.message}")
            case volume_binding.BindVolume() | volume_binding.BindClaim():
                pair = f"{action.volume.metadata.name} {action.claim.metadata.name}"
                found.append(f"{type(action).__name__} {pair}{' chosen' * action.chosen}")
            case volume_binding.ShowClaim() | volume_binding.ShowVolume():
                found.append(f"{type(action).__name__} {action.phase}")
            case volume_binding.AssignClass():
                found.append(f"AssignClass {action.name}")
            case _:
                found.append(type(action).__name__)
    return found


WAITING = "Normal WaitForFirstConsumer: waiting for first consumer to be created before binding"
NONE = (
    "Normal FailedBinding: no persistent volumes available for this claim and no storage class"
    " is set"
)
EXTERNAL = (
    "Normal ExternalProvisioning: Waiting for a volume to be created either by the external"
    " provisioner '{}' or manually by the system administrator. If volume creation is delayed,"
    " please verify that the provisioner is running and correctly registered."
)
BINDS = ["BindVolume pv data chosen", "BindClaim pv data chosen"]
SELECTED = {volume_binding.SELECTED_NODE: "edge"}
ELSEWHERE = {
    "required": {
        "nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["far"]}]}
        ]
    }
}
RWX = ["ReadWriteMany"]
SSD = {"matchLabels": {"disk": "ssd"}}
OURS = {local_path.PROVISIONED_BY: local_path.PROVISIONER}


@pytest.mark.parametrize(
    ("claims", "volumes", "classes", "wanted"),
    [
        pytest.param([claim()], [volume()], [], BINDS, id="fits"),
        pytest.param(
            [claim()],
            [volume("a", size="3Gi"), volume(size="2Gi"), volume("z", size="2Gi")],
            [],
            [*BINDS],
            id="smallest, then by name",
        ),
        pytest.param([claim(size="2Gi")], [volume()], [], [NONE], id="too small"),
        pytest.param([claim(accessModes=RWX)], [volume()], [], [NONE], id="access mode"),
        pytest.param([claim(volumeMode="Block")], [volume()], [], [NONE], id="volume mode"),
        pytest.param([claim()], [volume(storageClassName="x")], [], [NONE], id="class"),
        pytest.param([claim(selector=SSD)], [volume()], [], [NONE], id="selector"),
        pytest.param(
            [claim(selector=SSD)],
            [volume("a"), volume(meta={"labels": {"disk": "ssd"}})],
            [],
            BINDS,
            id="selected",
        ),
        pytest.param([claim()], [volume(phase="Failed", claimRef=None)], [], [
            NONE, "ShowVolume Available",
        ], id="failed"),
        pytest.param(
            [claim()], [volume(meta={"deletionTimestamp": "x"})], [], [NONE], id="being deleted"
        ),
        pytest.param(
            [claim()],
            [volume("a"), volume(size="5Gi", claimRef=ref())],
            [],
            ["BindVolume pv data", "BindClaim pv data chosen"],
            id="one that names the claim goes first",
        ),
        pytest.param(
            [claim()], [volume(claimRef=ref("else"))], [], [NONE], id="kept for another"
        ),
        pytest.param(
            [claim(volumeName="pv")],
            [volume(), volume("a")],
            [],
            ["BindVolume pv data chosen", "BindClaim pv data"],
            id="asked for by name",
        ),
        pytest.param([claim(volumeName="pv")], [], [], [], id="asked for, not there yet"),
        pytest.param(
            [claim(volumeName="pv", size="2Gi")],
            [volume()],
            [],
            [
                ('Warning VolumeMismatch: Cannot bind to requested volume "pv": requested PV is too'
                " small"),
            ],
            id="asked for, too small",
        ),
        pytest.param(
            [claim(volumeName="pv"), bound("one", "pv")],
            [volume(claimRef=ref("one", "uid-one"), phase="Bound")],
            [],
            [
                'Warning FailedBinding: volume "pv" already bound to a different claim.',
                "ShowClaim Bound",
            ],
            id="asked for, taken",
        ),
        pytest.param(
            [claim(storageClassName=None)], [], [LOCAL], ["AssignClass local-path"], id="default"
        ),
        pytest.param([claim(storageClassName=None)], [], [], [NONE], id="no default"),
        pytest.param([claim(storageClassName="local-path")], [], [LOCAL], [WAITING], id="waits"),
        pytest.param(
            [claim(storageClassName="local-path", annotations=SELECTED)],
            [],
            [LOCAL],
            ["MarkProvisioner", EXTERNAL.format(local_path.PROVISIONER), "Provision"],
            id="a pod came",
        ),
        pytest.param(
            [claim(storageClassName="now")],
            [],
            [IMMEDIATE],
            ["MarkProvisioner", EXTERNAL.format(local_path.PROVISIONER), "Provision"],
            id="immediate",
        ),
        pytest.param(
            [claim(storageClassName="other")],
            [],
            [OTHER],
            ["MarkProvisioner", EXTERNAL.format("x.io/y")],
            id="another's",
        ),
        pytest.param(
            [claim(storageClassName="gone")],
            [],
            [],
            ['Warning ProvisioningFailed: storageclass.storage.k8s.io "gone" not found'],
            id="no such class",
        ),
        pytest.param(
            [claim(storageClassName="now", volumeMode="Block")],
            [],
            [IMMEDIATE],
            [
                "MarkProvisioner",
                EXTERNAL.format(local_path.PROVISIONER),
                ('Warning ProvisioningFailed: failed to provision volume with StorageClass "now":'
                " block volumes are not supported"),
            ],
            id="block",
        ),
        pytest.param(
            [claim(storageClassName="manual")],
            [volume(storageClassName="manual")],
            [MANUAL],
            [WAITING],
            id="static waits too",
        ),
        pytest.param(
            [claim(storageClassName="manual", annotations=SELECTED)],
            [
                volume("a", storageClassName="manual", nodeAffinity=ELSEWHERE),
                volume(storageClassName="manual"),
            ],
            [MANUAL],
            BINDS,
            id="static here",
        ),
        pytest.param(
            [bound("data", "pv")],
            [],
            [],
            [
                "ShowClaim Lost",
                ("Warning ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume"
                " is lost!"),
            ],
            id="lost",
        ),
        pytest.param(
            [bound("data", "pv")],
            [volume(claimRef=ref(uid="uid-else"), phase="Bound")],
            [],
            [
                "ShowClaim Lost",
                ("Warning ClaimMisbound: Two claims are bound to the same volume, this one is bound"
                " incorrectly"),
                "ShowVolume Released",
            ],
            id="misbound",
        ),
        pytest.param([], [volume(phase="Pending")], [], ["ShowVolume Available"], id="new"),
        pytest.param(
            [], [volume(claimRef=ref(uid="u"), phase="Bound")], [], ["ShowVolume Released"],
            id="kept when released",
        ),
        pytest.param(
            [],
            [volume(claimRef=ref(uid="u"), persistentVolumeReclaimPolicy="Delete")],
            [],
            [
                "ShowVolume Released",
                "ShowVolume Failed",
                ('Warning VolumeFailedDelete: error getting deleter volume plugin for volume "pv":'
                " no deletable volume plugin matched"),
            ],
            id="not ours to delete",
        ),
        pytest.param(
            [],
            [
                volume(
                    claimRef=ref(uid="u"),
                    persistentVolumeReclaimPolicy="Delete",
                    annotations=OURS,
                    local={"path": f"{ROOT}/pv_ns_data"},
                )
            ],
            [],
            ["ShowVolume Released", "Reclaim"],
            id="ours to delete",
        ),
        pytest.param(
            [bound("data", "pv")],
            [volume("b", claimRef=ref(uid="uid-data"), annotations={
                volume_binding.BOUND_BY_CONTROLLER: "yes"}),
             volume(claimRef=ref(uid="uid-data"), phase="Bound")],
            [],
            ["ShowClaim Bound", "Unbind"],
            id="its claim has another one",
        ),
        pytest.param(
            [bound("data", "pv", size="2Gi")],
            [volume(claimRef=ref(uid="uid-data"), phase="Bound", annotations=OURS)],
            [],
            ["Expand"],
            id="grows",
        ),
    ],
)  # fmt: skip
def test_what_is_done(
    claims: list[Object], volumes: list[Object], classes: list[Object], wanted: list[str]
) -> None:
    assert shown(planned(claims, volumes, classes)) == wanted


def test_the_newest_of_several_default_classes_counts() -> None:
    def marked(name: str, created: str) -> Object:
        meta = {
            "name": name,
            "creationTimestamp": created,
            "annotations": {local_path.DEFAULT_CLASS: "true"},
        }
        return {**LOCAL, "metadata": meta}

    classes = [marked("old", "2020"), marked("b", "2021"), marked("a", "2021")]
    assert shown(planned([claim(storageClassName=None)], [], classes)) == ["AssignClass a"]


@pytest.mark.parametrize(
    ("path", "own"),
    [
        (f"{ROOT}/pv_ns_data", "pv_ns_data"),
        (f"{ROOT}/other_ns_data", ""),
        (f"{ROOT}/pv_ns/../../etc", ""),
        ("/etc", ""),
        (f"{ROOT}/", ""),
    ],
)
def test_only_a_directory_of_its_own_is_ever_removed(path: str, own: str) -> None:
    made = volume(annotations=OURS, local={"path": path})
    assert local_path.owns(msgspec.convert(made, storage.PersistentVolume), ROOT) == own


def test_a_volume_without_our_mark_is_never_removed() -> None:
    made = volume(local={"path": f"{ROOT}/pv_ns_data"})
    assert local_path.owns(msgspec.convert(made, storage.PersistentVolume), ROOT) == ""


@pytest.mark.parametrize(
    ("phase", "spec", "goes"),
    [
        ("Available", {}, True),
        ("Bound", {"claimRef": ref(uid="u")}, False),
        ("Released", {"claimRef": ref(uid="u")}, True),
        ("Released", {"claimRef": ref(uid="u"), "persistentVolumeReclaimPolicy": "Delete"}, False),
    ],
)
def test_a_volume_goes_after_its_data(phase: str, spec: Object, goes: bool) -> None:
    leaving = {"deletionTimestamp": "x", "finalizers": [storage_protection.OF_VOLUMES]}
    path = {"path": f"{ROOT}/pv_ns_data"}
    made = volume(phase=phase, meta=leaving, annotations=OURS, local=path, **spec)
    found = msgspec.convert(made, storage.PersistentVolume)
    assert storage_protection.volume_may_go(found, ROOT) is goes


# --- whatever comes -----------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "d"])
SIZES = st.sampled_from(["1Gi", "2Gi", "3Gi"])
CLASSES = st.sampled_from([None, "", "local-path", "now", "other", "manual", "gone"])
MODES = st.lists(st.sampled_from(["ReadWriteOnce", "ReadWriteMany"]), min_size=1, unique=True)
CLAIMS = st.builds(
    lambda name, size, used, modes, wanted, chosen: claim(
        name,
        size=size,
        storageClassName=used,
        accessModes=modes,
        volumeName=wanted,
        annotations=SELECTED if chosen else {},
    ),
    NAMES,
    SIZES,
    CLASSES,
    MODES,
    st.sampled_from(["", "", "", "pv-a", "pv-b"]),
    st.booleans(),
)
VOLUMES = st.builds(
    lambda name, size, used, modes, kept: volume(
        f"pv-{name}",
        size=size,
        storageClassName=used or "",
        accessModes=modes,
        phase="Pending",
        **({"claimRef": ref(kept)} if kept else {}),
    ),
    NAMES,
    SIZES,
    CLASSES,
    MODES,
    st.sampled_from([None, None, "a", "b"]),
)


class Store:
    """Carries actions out as the controller does, on plain objects."""

    def __init__(self, claims: list[Object], volumes: list[Object]) -> None:
        self.claims = {each["metadata"]["name"]: copy.deepcopy(each) for each in claims}
        self.volumes = {each["metadata"]["name"]: copy.deepcopy(each) for each in volumes}

    def turn(self, only: int | None = None) -> bool:
        """One plan, or as much of it as comes before a crash; whether it changed anything."""
        classes = [LOCAL, IMMEDIATE, OTHER, MANUAL]
        actions = planned(list(self.claims.values()), list(self.volumes.values()), classes)
        before = copy.deepcopy((self.claims, self.volumes))
        for action in actions[:only]:
            self.carry_out(action)
        return before != (self.claims, self.volumes)

    def carry_out(self, action: volume_binding.Action) -> None:  # noqa: C901 -- a case for each
        match action:
            case volume_binding.AssignClass():
                self._claim(action.claim, changes._with_class, name=action.name)
            case volume_binding.BindVolume():
                self._volume(action.volume, changes._bound_volume, action=action)
            case volume_binding.BindClaim():
                self._claim(action.claim, changes._bound_claim, action=action)
            case volume_binding.ShowClaim():
                self.claims[action.claim.metadata.name]["status"]["phase"] = action.phase
                if action.volume is not None:
                    status = self.claims[action.claim.metadata.name]["status"]
                    status["accessModes"] = action.volume.spec.access_modes
                    status["capacity"] = action.volume.spec.capacity
            case volume_binding.ShowVolume():
                self.volumes[action.volume.metadata.name]["status"]["phase"] = action.phase
            case volume_binding.Unbind():
                self._volume(action.volume, changes._unbound, action=action)
            case volume_binding.MarkProvisioner():
                self._claim(action.claim, changes._marked, provisioner=action.provisioner)
            case volume_binding.Provision():
                made = local_path.new_volume(action.claim, action.storage_class, NODE, ROOT)
                made["metadata"]["uid"] = f"uid-{made['metadata']['name']}"
                made["status"] = {"phase": "Pending"}
                self.volumes[made["metadata"]["name"]] = made
            case volume_binding.Expand():
                asked = action.claim.spec.resources.requests["storage"]
                self._volume(action.volume, changes._grown, size=asked)
            case volume_binding.Reclaim():
                del self.volumes[action.volume.metadata.name]
            case volume_binding.Tell():
                pass

    def _claim(self, found: storage.PersistentVolumeClaim, change: Any, **given: Any) -> None:
        name = found.metadata.name
        self.claims[name] = change(self.claims[name], **given)

    def _volume(self, found: storage.PersistentVolume, change: Any, **given: Any) -> None:
        name = found.metadata.name
        self.volumes[name] = change(self.volumes[name], **given)

    def check(self) -> None:
        """Of two claims that name one volume as theirs, one at most is not lost."""
        had: dict[str, str] = {}
        for name, found in self.claims.items():
            wanted = found["spec"].get("volumeName")
            done = volume_binding.BIND_COMPLETED in found["metadata"]["annotations"]
            if not wanted or not done or wanted not in self.volumes:
                continue
            held = self.volumes[wanted]["spec"]["claimRef"]
            assert held["uid"] == found["metadata"]["uid"], "a claim has what is another's"
            assert wanted not in had, f"{had[wanted]} and {name} both have {wanted}"
            had[wanted] = name


@settings(max_examples=150, deadline=None)
@given(
    claims=st.lists(CLAIMS, max_size=4, unique_by=lambda each: each["metadata"]["name"]),
    volumes=st.lists(VOLUMES, max_size=4, unique_by=lambda each: each["metadata"]["name"]),
    crashes=st.lists(st.integers(0, 6), max_size=6),
    leaving=st.lists(NAMES, max_size=2),
)
def test_no_two_claims_get_one_volume_and_it_comes_to_rest(
    claims: list[Object], volumes: list[Object], crashes: list[int], leaving: list[str]
) -> None:
    store = Store(claims, volumes)
    for done in crashes:
        store.turn(done)
        store.check()
    for name in leaving:
        store.claims.pop(name, None)
    for _ in range(20):
        if not store.turn():
            break
        store.check()
    else:
        raise AssertionError("it goes on for ever")
