"""Volumes as containers see them, and what is left of them afterwards."""

from __future__ import annotations

import asyncio
import os
import pathlib
from typing import Any

import pytest

from edgeorch.agent import linux
from edgeorch.agent.volumes import folders, ownership, removal
from edgeorch.core import volume_binding
from tests.component.agent.conftest import IMAGE, Lab, _named
from tests.component.agent.test_configuration import output, run_in
from tests.component.agent.test_image_store import _snapshots as snapshots

Object = dict[str, Any]


async def bound_claim(lab: Lab, name: str, **source: Any) -> pathlib.Path:
    """A claim with its volume, as the controller leaves them; where the data lies."""
    root = pathlib.Path(lab.root) / "storage"
    held = folders.VolumeFolders(root)
    path = root / f"pv-{name}_default_{name}"
    await held.make(path.name)
    claim = await lab.objects.create(
        "persistentvolumeclaims",
        {
            **_named("v1", "PersistentVolumeClaim", name, "default"),
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
                "volumeName": f"pv-{name}",
                "storageClassName": "",
            },
        },
    )
    host = {"key": "kubernetes.io/hostname", "operator": "Exists"}
    await lab.objects.create(
        "persistentvolumes",
        {
            **_named("v1", "PersistentVolume", f"pv-{name}"),
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "1Gi"},
                "claimRef": {
                    "namespace": "default",
                    "name": name,
                    "uid": claim.decode()["metadata"]["uid"],
                },
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [host]}]}},
                **(source or {"local": {"path": str(path)}}),
            },
        },
    )

    def complete(obj: Object) -> Object:
        obj["metadata"]["annotations"] = {volume_binding.BIND_COMPLETED: "yes"}
        return obj

    await lab.objects.update("persistentvolumeclaims", "default", name, complete)
    return path


def of_claim(name: str, **more: Any) -> Object:
    return {"name": name, "persistentVolumeClaim": {"claimName": name, **more}}


async def refused(lab: Lab, name: str) -> Any:
    return await lab.until(lambda: lab.waiting(name, "CreateContainerConfigError"))


async def test_data_of_a_claim_outlives_its_pods_and_belongs_to_their_group(lab: Lab) -> None:
    path = await bound_claim(lab, "data")
    outside = pathlib.Path(lab.root) / "outside"
    outside.mkdir()
    (outside / "precious").write_text("p")
    (path / "old").write_text("old")
    (path / "link").symlink_to(outside)
    mounts = [
        {"name": "data", "mountPath": "/data"},
        {"name": "data", "mountPath": "/part", "subPath": "a/b"},
        {"name": "data", "mountPath": "/file", "subPath": "old", "readOnly": True},
        {"name": "scratch", "mountPath": "/scratch"},
    ]
    script = (
        "echo one >/data/f; echo two >/part/g; busybox ln -s /data /scratch/l; cat /file;"
        " busybox stat -c '%g %a' /data /data/f /data/old /part /scratch;"
        " (echo x >/file) 2>/dev/null || echo denied"
    )
    await lab.run(
        "writes", "sh", "-c", script,
        container={"volumeMounts": mounts},
        restartPolicy="Never",
        securityContext={"fsGroup": 1234},
        volumes=[of_claim("data"), {"name": "scratch", "emptyDir": {}}],
    )  # fmt: skip
    # New files get the group of their directory, those before it get it by the pod.
    told = "old1234 2777\n1234 644\n1234 664\n1234 2777\n1234 2777\n"
    assert told + "denied\n" == await output(lab, "writes")
    await lab.delete("writes")
    await lab.gone("writes")

    assert (path / "f").read_text() == "one\n"
    assert (path / "a" / "b" / "g").read_text() == "two\n"
    assert (outside / "precious").read_text() == "p"
    assert outside.stat().st_gid == 0, "fsGroup followed a link out of the volume"
    script = "cat /data/f /data/a/b/g; (echo x >/data/f) 2>/dev/null || echo denied"
    await lab.run(
        "reads", "sh", "-c", script,
        container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        restartPolicy="Never",
        volumes=[of_claim("data", readOnly=True)],
    )  # fmt: skip
    assert await output(lab, "reads") == "one\ntwo\ndenied\n"


async def test_a_sub_path_never_leads_out_of_its_volume(lab: Lab) -> None:
    path = await bound_claim(lab, "data")
    secret = pathlib.Path(lab.root) / "secret"
    secret.mkdir()
    (path / "absolute").symlink_to(secret)
    (path / "upwards").symlink_to("../..")
    (path / "inside").symlink_to("real")
    (path / "real").mkdir()
    for number, part in enumerate(("absolute", "upwards", "absolute/below")):
        name = f"out-{number}"
        mount = {"name": "data", "mountPath": "/x", "subPath": part}
        await lab.run(name, "true", container={"volumeMounts": [mount]}, volumes=[of_claim("data")])
        waits = await refused(lab, name)
        begins = 'failed to prepare subPath for volumeMount "data" of container "main": '
        assert waits["message"] == f"{begins}subpath {part} leads out of the volume"
    assert list(secret.iterdir()) == []
    container = {
        "env": [
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "WHERE", "value": "/abs"},
        ],
        "volumeMounts": [
            {"name": "data", "mountPath": "/x", "subPathExpr": "$(POD)/logs"},
            {"name": "data", "mountPath": "/y", "subPath": "inside"},
        ],
    }
    await lab.run(
        "expands", "sh", "-c", "busybox touch /x/here /y/there",
        container=container, restartPolicy="Never", volumes=[of_claim("data")],
    )  # fmt: skip
    await lab.phase("expands", "Succeeded")
    assert (path / "expands" / "logs" / "here").exists()
    assert (path / "real" / "there").exists()
    for name, expression, told in (
        ("abs", "$(WHERE)", "error SubPath `/abs` must not be an absolute path"),
        ("none", "$(NONE)", 'missing value for "NONE"'),
    ):
        mount = {"name": "data", "mountPath": "/x", "subPathExpr": expression}
        broken = {**container, "volumeMounts": [mount]}
        await lab.run(name, "true", container=broken, volumes=[of_claim("data")])
        waits = await refused(lab, name)
        assert waits["message"] == told


async def test_what_is_missing_is_told_and_waited_for(lab: Lab) -> None:
    volumes = [
        {"name": "conf", "configMap": {"name": "conf"}},
        {"name": "maybe", "secret": {"secretName": "maybe", "optional": True}},
    ]
    mounts = [
        {"name": "conf", "mountPath": "/conf"},
        {"name": "conf", "mountPath": "/one", "subPath": "key"},
        {"name": "maybe", "mountPath": "/maybe"},
    ]
    await lab.run("waits", volumes=volumes, container={"volumeMounts": mounts})
    told = 'MountVolume.SetUp failed for volume "conf" : configmap "conf" not found'
    await lab.until(lambda: ("FailedMount", told) in lab.events("waits"))
    await lab.objects.create(
        "configmaps", {**_named("v1", "ConfigMap", "conf", "default"), "data": {"key": "old"}}
    )
    await lab.running("waits")
    assert await run_in(lab, "waits", "cat /conf/key /one; busybox ls /maybe") == "oldold"
    secret = {**_named("v1", "Secret", "maybe", "default"), "data": {"s": "aHVzaA=="}}
    await lab.objects.create("secrets", secret)

    async def shown() -> str:
        return await run_in(lab, "waits", "cat /maybe/s 2>/dev/null || true")

    while await shown() != "hush":
        pass
    await lab.run("lost", volumes=[of_claim("gone")])
    told = 'error processing PVC default/gone: persistentvolumeclaim "gone" not found'
    await lab.until(lambda: ("FailedMount", told) in lab.events("lost"))
    await bound_claim(lab, "far", nfs={"server": "s", "path": "/"})
    await lab.run("far", volumes=[of_claim("far")])
    told = (
        'MountVolume.SetUp failed for volume "pv-far" : its kind of PersistentVolume is not'
        " supported on this node: use local or hostPath"
    )
    await lab.until(lambda: ("FailedMount", told) in lab.events("far"))
    missing = {"path": str(pathlib.Path(lab.root) / "none")}
    await bound_claim(lab, "none", local=missing)
    await lab.run("none", volumes=[of_claim("none")])
    told = (
        f'MountVolume.NewMounter initialization failed for volume "pv-none" : path'
        f' "{missing["path"]}" does not exist'
    )
    await lab.until(lambda: ("FailedMount", told) in lab.events("none"))


async def test_an_image_is_a_volume(lab: Lab) -> None:
    volumes = [
        {"name": "image", "image": {"reference": IMAGE, "pullPolicy": "IfNotPresent"}},
        {"name": "absent", "image": {"reference": "absent.invalid/x", "pullPolicy": "Never"}},
    ]
    mounts = [
        {"name": "image", "mountPath": "/image"},
        {"name": "image", "mountPath": "/etc/of-image", "subPath": "etc"},
    ]
    container = {"volumeMounts": mounts}
    await lab.run("shows", volumes=volumes[:1], container=container)
    await lab.running("shows")
    look = (
        "cat /image/etc/extra /etc/of-image/passwd; (echo x >/image/f) 2>/dev/null || echo denied;"
        " /image/bin/busybox true 2>/dev/null || echo no execution"
    )
    told = "second layer \nroot:x:0:0:root:/:/bin/sh\ndenied\nno execution\n"
    assert await run_in(lab, "shows", look) == told

    await lab.stop()
    await lab.start()
    await lab.running("shows")
    assert await run_in(lab, "shows", look) == told
    await lab.delete("shows", grace=0)
    await lab.gone("shows")
    await lab.until(lambda: not lab.agent.pods(), "everything of it gone")
    async with asyncio.timeout(30):
        while any("edgeorch-volume" in key for key in await snapshots(lab)):
            await asyncio.sleep(0.05)
    await lab.run("waits", volumes=volumes[1:])
    told = 'Container image "absent.invalid/x" is not present with pull policy of Never'
    await lab.until(lambda: ("FailedMount", told) in lab.events("waits"))


async def test_mounts_are_passed_on_as_asked(lab: Lab) -> None:
    host = pathlib.Path(lab.root) / "host"
    (host / "below").mkdir(parents=True)
    linux.mount_tmpfs(host, "mode=0755")
    linux.share(host)
    (host / "below").mkdir()
    (host / "early").mkdir()
    linux.mount_tmpfs(host / "early", "mode=0777")
    mounts = [
        {"name": "host", "mountPath": "/follows", "mountPropagation": "HostToContainer"},
        {"name": "host", "mountPath": "/fixed"},
        {"name": "host", "mountPath": "/ro", "readOnly": True},
        {
            "name": "host",
            "mountPath": "/rro",
            "readOnly": True,
            "recursiveReadOnly": "Enabled",
        },
        {"name": "scratch", "mountPath": "/both", "mountPropagation": "Bidirectional"},
    ]
    volumes = [
        {"name": "host", "hostPath": {"path": str(host)}},
        {"name": "scratch", "emptyDir": {}},
    ]
    container = {"volumeMounts": mounts, "securityContext": {"privileged": True}}
    await lab.run("sees", container=container, volumes=volumes)
    try:
        await lab.running("sees")
        linux.mount_tmpfs(host / "below", "mode=0755")
        (host / "below" / "late").touch()
        look = (
            "busybox ls /follows/below /fixed/below; busybox touch /ro/early/f && echo wrote;"
            " busybox touch /rro/early/f 2>/dev/null || echo denied;"
            " busybox mkdir /both/m; busybox mount -t tmpfs none /both/m;"
            " busybox touch /both/m/inner"
        )
        assert await run_in(lab, "sees", look) == (
            "/fixed/below:\n\n/follows/below:\nlate\nwrote\ndenied\n"
        )
        pod = lab.pod("sees")
        assert pod is not None
        uid = pod["metadata"]["uid"]
        scratch = lab.settings.pods_dir / uid / "volumes" / "emptyDir" / "scratch"
        assert (scratch / "m" / "inner").exists(), "a mount of the container reaches the device"
        await lab.delete("sees", grace=0)
        await lab.gone("sees")
        await lab.until(lambda: not scratch.parent.parent.parent.exists(), "volumes gone")
        assert (host / "early").is_dir()
    finally:
        for point in linux.mount_points(host):
            linux.unmount(point)


def test_removing_follows_neither_links_nor_mounts(tmp_path: pathlib.Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "precious").write_text("p")
    doomed = tmp_path / "doomed"
    (doomed / "a" / "b").mkdir(parents=True)
    (doomed / "a" / "file").write_text("x")
    (doomed / "a" / "link").symlink_to(kept)
    (doomed / "mounted").mkdir()
    linux.bind(str(kept), doomed / "mounted")
    try:
        with pytest.raises(OSError, match="cross-device"):
            removal.remove_tree(doomed)
        assert (kept / "precious").read_text() == "p"
        removal.remove_with_mounts(doomed)
        assert not doomed.exists()
        assert (kept / "precious").read_text() == "p"
        removal.remove_with_mounts(doomed)
    finally:
        for point in linux.mount_points(tmp_path):
            linux.unmount(point)


def test_no_depth_is_too_deep(tmp_path: pathlib.Path) -> None:
    """A container may put more directories into each other than a process may hold open."""
    volume = tmp_path / "volume"
    volume.mkdir()
    inner = os.open(volume, os.O_PATH)
    for _ in range(1500):
        os.mkdir("d", 0o700, dir_fd=inner)
        above, inner = inner, os.open("d", os.O_PATH, dir_fd=inner)
        os.close(above)
    ownership.give(volume, 4321)
    deepest = os.stat(f"/proc/self/fd/{inner}")
    os.close(inner)
    assert (deepest.st_gid, deepest.st_mode & 0o2070) == (4321, 0o2070)
    (volume / "d" / "file").touch()
    removal.remove_tree(volume)
    assert not volume.exists()


def test_a_group_is_given_all_but_what_links_and_mounts_lead_to(tmp_path: pathlib.Path) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    (other / "file").write_text("")
    (other / "file").chmod(0o600)
    volume = tmp_path / "volume"
    (volume / "deep").mkdir(parents=True)
    (volume / "deep" / "file").write_text("")
    (volume / "deep" / "file").chmod(0o600)
    (volume / "link").symlink_to(other / "file")
    (volume / "mounted").mkdir()
    linux.bind(str(other), volume / "mounted")
    try:
        ownership.give(volume, 4321)
    finally:
        linux.unmount(volume / "mounted")
    given = (volume / "deep" / "file").stat()
    assert (given.st_gid, given.st_mode & 0o777) == (4321, 0o660)
    assert (volume / "deep").stat().st_mode & 0o2770 == 0o2770
    assert (volume / "link").lstat().st_gid == 4321
    left = (other / "file").stat()
    assert (left.st_gid, left.st_mode & 0o777) == (0, 0o600)

    os.chown(volume / "deep" / "file", -1, 0)
    ownership.give(volume, 4321, "OnRootMismatch")
    assert (volume / "deep" / "file").stat().st_gid == 0, "the root said that it was done"
    ownership.give(volume, 4321, "Always")
    assert (volume / "deep" / "file").stat().st_gid == 4321


async def test_directories_of_volumes_are_named_by_what_is_theirs(tmp_path: pathlib.Path) -> None:
    held = folders.VolumeFolders(tmp_path / "storage")
    for name in ("", "..", "a/b", ".hidden"):
        for act in (held.make, held.remove):
            with pytest.raises(OSError, match="is no name of a volume's directory"):
                await act(name)
    await held.make("pvc-1_ns_data")
    folder = tmp_path / "storage" / "pvc-1_ns_data"
    assert folder.stat().st_mode & 0o777 == 0o777
    assert (tmp_path / "storage").stat().st_mode & 0o777 == 0o700
    (folder / "f").touch()
    await held.make("pvc-1_ns_data")
    assert (folder / "f").exists()
    await held.remove("pvc-1_ns_data")
    assert not folder.exists()
