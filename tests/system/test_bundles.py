"""Bundles: what a fleet pushes arrives as a whole, and goes back by itself when it is no good."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import clients, manifests, senders
from . import lab as labs

Object = dict[str, Any]
YAML = {"Content-Type": "application/yaml"}


class Fleet:
    """One sender, one bundle, one device."""

    def __init__(self, lab: labs.Lab, name: str, namespace: str) -> None:
        self.lab = lab
        self.name = name
        self.namespace = namespace
        self.url = f"/apis/edgeorch.io/v1/bundles/{name}/manifests"

    def push(
        self, *objects: Object, query: str = "", headers: dict[str, str] | None = None
    ) -> clients.Answer:
        return self.send("\n---\n".join(map(json.dumps, objects)).encode(), query, headers)

    def send(
        self, body: bytes, query: str = "", headers: dict[str, str] | None = None
    ) -> clients.Answer:
        query = f"minReadySeconds=1&{query}"
        return self.lab.api("PUT", f"{self.url}?{query}", body, headers=YAML | (headers or {}))

    def here(self, obj: Object) -> Object:
        return {**obj, "metadata": {**obj["metadata"], "namespace": self.namespace}}

    def config(self, name: str, **data: str) -> Object:
        meta = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}

    def web(self, image: str = "nginx:1.25") -> Object:
        return self.here(manifests.deployment("web", manifests.web(image=image)))

    def status(self) -> Object:
        found: Object = self.lab.get("bundle", self.name).get("status", {})
        return found

    def until(self, phase: str) -> None:
        self.lab.wait(f"bundle/{self.name}", f"jsonpath={{.status.phase}}={phase}")

    def names(self, kind: str) -> set[str]:
        found = self.lab.items(kind, "-n", self.namespace)
        return {
            each["metadata"]["name"]
            for each in found
            if each["metadata"]["name"] not in ("kube-root-ca.crt", "default")
        }


@pytest.fixture
def fleet(lab: labs.Lab, namespace: str) -> Iterator[Fleet]:
    made = Fleet(lab, f"b-{namespace}", namespace)
    yield made
    lab.kubectl("delete", "bundle", made.name, "--ignore-not-found", "--timeout=60s", seconds=70)


@pytest.mark.ask(10)
def test_a_bundle_from_push_to_deletion(fleet: Fleet) -> None:
    lab = fleet.lab
    first = (fleet.config("one", a="1"), fleet.config("two", a="1"), fleet.web())
    tried = fleet.push(*first, query="dryRun=All")
    assert tried.status == 200
    assert len(tried.json["created"]) == 3
    assert fleet.names("configmaps") == set()

    answer = fleet.push(*first)
    assert answer.status == 201
    body = "\n---\n".join(map(json.dumps, first)).encode()
    assert answer.json["version"] == "sha256:" + hashlib.sha256(body).hexdigest()
    ns = fleet.namespace
    assert answer.json["created"] == [
        f"ConfigMap {ns}/one", f"ConfigMap {ns}/two", f"Deployment {ns}/web",
    ]  # fmt: skip
    lab.wait(f"bundle/{fleet.name}", "condition=Ready")
    shown = lab.kubectl("get", "bundles", fleet.name).splitlines()
    assert shown[0].split() == ["NAME", "PHASE", "VERSION", "READY", "AGE"]
    short = answer.json["version"][7:19]
    assert shown[1].split()[:4] == [fleet.name, "Ready", short, "3/3"]

    # Again is nothing at all: not a write, not a wake-up.
    before = lab.api("GET", f"/apis/edgeorch.io/v1/bundles/{fleet.name}").json
    again = fleet.push(*first)
    assert (again.status, len(again.json["unchanged"])) == (200, 3)
    after = lab.api("GET", f"/apis/edgeorch.io/v1/bundles/{fleet.name}").json
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]

    got = lab.api("GET", fleet.url)
    assert (got.body, got.headers["ETag"]) == (body, f'"{answer.json["version"]}"')

    second = fleet.push(fleet.config("one", a="2"), fleet.config("three"))
    assert second.json["created"] == [f"ConfigMap {ns}/three"]
    assert second.json["configured"] == [f"ConfigMap {ns}/one"]
    assert second.json["pruned"] == [f"Deployment {ns}/web", f"ConfigMap {ns}/two"]
    assert fleet.names("configmaps") == {"one", "three"}

    # What somebody deletes on the device comes back, and is told of.
    lab.kubectl("delete", "configmap", "three", "-n", ns)
    labs.until(lambda: fleet.names("configmaps") == {"one", "three"}, "it is back")
    described = lab.kubectl("describe", "bundle", fleet.name)
    assert f"Made again, since somebody has deleted it: ConfigMap {ns}/three" in described
    assert "Phase:" in described
    assert "1 created, 1 configured, 2 pruned" in described
    lab.kubectl("delete", "bundle", fleet.name, "--timeout=60s", seconds=70)
    assert fleet.names("configmaps") == set()
    assert not lab.items("deployments", "-n", ns)


def test_what_others_hold_stays(fleet: Fleet) -> None:
    lab, n = fleet.lab, ("-n", fleet.namespace)
    fleet.push(fleet.config("mine", a="1"), fleet.config("ours", a="1"))
    theirs = fleet.config("ours", b="2")
    lab.kubectl("apply", "--server-side", "-f", "-", *n, stdin=json.dumps(theirs))
    other = Fleet(lab, f"{fleet.name}-other", fleet.namespace)
    refused = other.push(fleet.config("mine"))
    assert refused.status == 422
    assert f"belongs to bundle {fleet.name}" in refused.json["message"]

    left = fleet.push(fleet.config("rest"))
    assert left.json["kept"] == [f"ConfigMap {fleet.namespace}/ours"]
    assert left.json["pruned"] == [f"ConfigMap {fleet.namespace}/mine"]
    assert lab.get("configmap", "ours", *n)["data"] == {"b": "2"}


def test_a_bad_bundle_changes_nothing(fleet: Fleet) -> None:
    """Every error of every document is told at once."""
    bad = fleet.web()
    bad["spec"]["replicas"] = -1
    unknown = {**fleet.config("b"), "dta": {}}
    answer = fleet.push(
        fleet.config("a"), bad, unknown, fleet.config("a"), {"kind": "Deploy", "apiVersion": "v1"}
    )
    assert answer.status == 422
    told = answer.json["message"]
    assert 'unknown field "dta"' in told
    assert "the same object as document 1" in told
    assert 'no matches for kind "Deploy" in version "v1"' in told
    assert fleet.names("configmaps") == set()
    answer = fleet.push(fleet.config("a"), bad)
    assert answer.status == 422
    causes = answer.json["details"]["causes"]
    assert [cause["field"] for cause in causes] == [
        f"document 2 (Deployment {fleet.namespace}/web) spec.replicas"
    ]
    assert fleet.names("configmaps") == set()
    assert fleet.lab.api("GET", f"/apis/edgeorch.io/v1/bundles/{fleet.name}").status == 404


def test_transport(fleet: Fleet) -> None:
    """What is damaged on its way, or meant for another state, is not taken."""
    body = json.dumps(fleet.config("a")).encode()
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    wrong = {"Content-Digest": f"sha-256=:{base64.b64encode(bytes(32)).decode()}:"}
    assert fleet.send(body, headers=wrong).status == 400
    assert fleet.send(body, headers={"Content-Digest": "nonsense"}).status == 400
    assert fleet.send(body, headers={"If-Match": '"sha256:0"'}).status == 412
    assert fleet.send(body, headers={"Content-Encoding": "gzip"}).status == 400
    bomb = gzip.compress(b" " * 50_000_000)
    assert fleet.send(bomb, headers={"Content-Encoding": "gzip"}).status == 413
    assert fleet.send(b"a: [", headers={}).status == 400
    assert fleet.send(b"", headers={}).status == 422
    assert fleet.send(body, "deadlineSeconds=-1").status == 422
    assert fleet.send(body, "healthURL=ftp://x").status == 422
    assert fleet.send(body, "dryRun=x").status == 422

    packed = gzip.compress(body[:9]) + gzip.compress(body[9:])
    unpackable = {"Content-Encoding": "gzip"}
    assert fleet.send(packed[:-1], headers=unpackable).status == 400
    assert fleet.send(packed + b"junk", headers=unpackable).status == 400
    packed_digest = base64.b64encode(hashlib.sha512(packed).digest()).decode()
    good = {
        "Content-Encoding": "gzip",
        "Content-Digest": f"sha-512=:{packed_digest}:",
        "If-None-Match": "*",
    }
    taken = fleet.send(packed, headers=good)
    assert taken.status == 201
    assert fleet.send(packed, headers=good).status == 412
    version = taken.json["version"]
    assert version == "sha256:" + hashlib.sha256(body).hexdigest()
    right = {"If-Match": f'"{version}"', "Content-Digest": f"sha-256=:{digest}:"}
    assert fleet.send(body, headers=right).status == 200


def test_a_bad_version_goes_back(fleet: Fleet) -> None:
    lab = fleet.lab
    good = (fleet.config("one", a="1"), fleet.web())
    bad = (fleet.config("two", a="1"), fleet.web(image="nginx:1.99"))
    first = fleet.push(*good).json["version"]
    lab.wait(f"bundle/{fleet.name}", "condition=Ready")
    second = fleet.push(*bad, query="deadlineSeconds=2").json["version"]
    fleet.until("RolledBack")
    status = fleet.status()
    assert (status["version"], status["lastGoodVersion"]) == (first, first)
    assert [each["version"] for each in status["refusedVersions"]] == [second]
    assert "not ready within 2 s: Deployment" in status["message"]
    lab.rollout("deployment/web", "-n", fleet.namespace)
    assert fleet.names("configmaps") == {"one"}
    events = lab.items("events", "--field-selector", "reason=RolledBack")
    assert any(event["involvedObject"]["name"] == fleet.name for event in events)

    # The same again is refused, for a reason and with the way out; another version is not.
    refused = fleet.push(*bad)
    assert (refused.status, refused.json["reason"]) == (409, "Conflict")
    assert "?force=true" in refused.json["message"]
    assert fleet.push(*bad, query="force=true").json["configured"]
    newer = fleet.push(fleet.config("three"), fleet.web(image="nginx:1.26"))
    assert newer.status == 200
    lab.wait(f"bundle/{fleet.name}", "condition=Ready")
    assert fleet.names("configmaps") == {"three"}


@pytest.mark.ask(22)
def test_a_newer_push_does_not_wait_for_one_that_is_stuck(fleet: Fleet) -> None:
    lab, n = fleet.lab, ("-n", fleet.namespace)
    fleet.push(fleet.config("one"), fleet.web())
    fleet.until("Ready")
    stuck = fleet.push(
        fleet.config("two"), fleet.web(image="nginx:1.99"), query="deadlineSeconds=3600"
    )
    lab.wait("deployment/web", "jsonpath={.status.unavailableReplicas}=1", *n)
    status = fleet.status()
    assert (status["phase"], status["version"]) == ("Progressing", stuck.json["version"])

    newer = fleet.push(fleet.config("three"), fleet.web(image="nginx:1.26"))
    assert newer.status == 200
    lab.wait(f"bundle/{fleet.name}", "condition=Ready")
    status = fleet.status()
    assert (status["version"], status["lastGoodVersion"]) == (newer.json["version"],) * 2
    # Nobody has judged the one that was overtaken.
    assert not status.get("refusedVersions")
    lab.rollout("deployment/web", *n)
    assert fleet.names("configmaps") == {"three"}
    images = {pod["spec"]["containers"][0]["image"] for pod in lab.items("pods", *n)}
    assert images == {"nginx:1.26"}

    # Nor does taking the whole of it back.
    fleet.push(fleet.web(image="nginx:1.99"), query="deadlineSeconds=3600")
    lab.kubectl("delete", "bundle", fleet.name, "--timeout=60s", seconds=70)
    assert not lab.items("deployments", *n)


def test_a_fleet_that_cannot_be_reached_takes_it_back(fleet: Fleet) -> None:
    fleet.push(fleet.config("one"))
    fleet.until("Ready")
    lost = "healthURL=http://127.0.0.1:9/&deadlineSeconds=1"
    fleet.push(fleet.config("two"), query=lost)
    fleet.until("RolledBack")
    assert "http://127.0.0.1:9/ is not reachable" in fleet.status()["message"]
    assert fleet.names("configmaps") == {"one"}
    found = "healthURL=http://127.0.0.1:10248/livez"
    fleet.push(fleet.config("three"), query=found)
    fleet.until("Ready")


@pytest.mark.ask(23)
def test_the_node_or_a_file_holds_updates(new_lab: Callable[..., labs.Lab], tmp_path: Path) -> None:
    key, public = tmp_path / "key.pem", tmp_path / "public.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519", "-out", key],
        check=True,
        capture_output=True,
    )
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
    hold = tmp_path / "hold" / "updates"
    config = tmp_path / "config.yaml"
    config.write_text(f"updates: {{hold_file: {hold}, trusted_keys: [{public}]}}\n")
    lab = new_lab("--config", str(config))
    fleet = Fleet(lab, "app", "default")

    def signed(obj: Object) -> clients.Answer:
        file = tmp_path / "manifests"
        file.write_text(json.dumps(obj))
        command = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(key), "-in", str(file)]
        signature = subprocess.run(command, check=True, capture_output=True).stdout
        headers = {"Edgeorch-Signature": base64.b64encode(signature).decode()}
        return fleet.send(file.read_bytes(), headers=headers)

    assert fleet.push(fleet.config("one")).status == 403
    other = signed(fleet.config("one", a="x"))
    assert other.status == 201
    tampered = fleet.send(
        json.dumps(fleet.config("one", a="y")).encode(),
        headers={"Edgeorch-Signature": base64.b64encode(bytes(64)).decode()},
    )
    assert tampered.status == 403
    fleet.until("Ready")

    # What was signed once is taken for ever, unless it is signed, too, what comes after what.
    devices, file = tmp_path / "devices", tmp_path / "numbered"
    devices.write_text(senders.listed(lab, "127.0.0.1", tmp_path) + "\n")
    file.write_text(json.dumps(fleet.config("numbered")))
    common = ("--devices", str(devices), "--bundle", "numbered", "--key", str(key), str(file))
    sender = str(senders.PROGRAM)
    assert "ready" in lab.run(sender, "--sequence", "7", *common).stdout
    replayed = lab.run(sender, "--sequence", "6", *common, check=False)
    told = "its edgeorch.io/sequence is 6, and one of 7 was taken before"
    assert (replayed.returncode, told in replayed.stdout) == (1, True)
    lab.kubectl("delete", "bundle", "numbered", "--timeout=60s", seconds=70)

    lab.kubectl("annotate", "node", lab.name, "edgeorch.io/hold-updates=the robot moves")
    held = signed(fleet.config("two"))
    assert held.status == 202
    assert "the robot moves" in held.json["held"]
    lab.lab("kill")
    lab.lab("start")
    fleet.until("Pending")
    lab.wait("bundle/app", "condition=Held")
    lab.wait(f"node/{lab.name}", "condition=UpdatesHeld")
    assert fleet.names("configmaps") == {"one"}
    newer = signed(fleet.config("three"))
    assert newer.status == 202
    lab.kubectl("annotate", "node", lab.name, "edgeorch.io/hold-updates-")
    fleet.until("Ready")
    assert fleet.names("configmaps") == {"three"}

    with subprocess.Popen(["flock", hold, "cat"], stdin=subprocess.PIPE) as locked:
        labs.until(lambda: signed(fleet.config("four")).status == 202, "locked")
        lab.wait(f"node/{lab.name}", "condition=UpdatesHeld")
        assert f"{hold} is locked" in lab.kubectl("describe", "node", lab.name)
        assert locked.stdin
        locked.stdin.close()
    fleet.until("Ready")
    assert fleet.names("configmaps") == {"four"}
    # A text is seen, and its going, also while no bundle waits.
    hold.write_text("the arm is out\n")
    lab.wait(f"node/{lab.name}", "condition=UpdatesHeld")
    assert "the arm is out" in lab.kubectl("describe", "node", lab.name)
    hold.write_text("")
    lab.wait(f"node/{lab.name}", "condition=UpdatesHeld=False")


def test_what_does_not_fit_is_refused_with_every_reason(fleet: Fleet) -> None:
    lab = fleet.lab
    big = fleet.web()
    pod = big["spec"]["template"]["spec"]
    pod["containers"][0] |= {
        "resources": {"requests": {"memory": "10Ti"}},
        "ports": [{"containerPort": 80, "hostPort": 6443}],
    }
    pod["nodeSelector"] = {"kubernetes.io/arch": "mips"}
    for query in ("", "dryRun=All"):
        refused = fleet.push(fleet.config("one"), big, query=query)
        assert (refused.status, refused.json["reason"]) == (422, "Invalid")
        told = [cause["message"] for cause in refused.json["details"]["causes"]]
        assert len(told) == 3
        assert "kubernetes.io/arch=mips" in told[0]
        assert "hostPort 6443 is the device's own" in told[1]
        assert "the bundle requests" in told[2]
    assert fleet.names("configmaps") == set()
    # Where a registry cannot be asked, that is told and stands in nobody's way.
    unknown = fleet.push(fleet.web(image="registry.invalid/none:1"), query="dryRun=All")
    assert unknown.status == 200
    assert any("registry.invalid/none:1 is not known" in each for each in unknown.json["warnings"])
    assert lab.api("GET", f"/apis/edgeorch.io/v1/bundles/{fleet.name}").status == 404
