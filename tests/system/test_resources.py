"""Limits of the disk, what is measured, and what is told of pods that do not fit; real kubectl."""

from __future__ import annotations

import json
from typing import Any

from . import lab as labs
from . import manifests

SPREAD = "node(s) didn't match pod topology spread constraints"
FILL = "dd if=/dev/zero of={} bs=1M count={} 2>/dev/null; "


def limited(name: str, script: str, storage: str = "", **fields: Any) -> labs.Object:
    resources = {"limits": {"ephemeral-storage": storage}} if storage else {}
    return manifests.container(script + manifests.IDLE, name, resources=resources, **fields)


def scratch(**source: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the container, and of the pod."""
    mounts = {"volumeMounts": [{"name": "x", "mountPath": "/x"}]}
    return mounts, {"volumes": [{"name": "x", "emptyDir": source}]}


def test_pods_that_outgrow_their_disk_are_evicted(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    mounts, volumes = scratch(sizeLimit="10Mi")
    full = limited("main", FILL.format("/x/y", 12), **mounts)
    spec = manifests.deployment("web", full)
    spec["spec"]["template"]["spec"] |= volumes
    two = (
        limited("small", FILL.format("/y", 25), "20Mi"),
        limited("large", "", "100Mi"),
    )
    lab.apply(
        manifests.listed(
            spec,
            manifests.pod("pod", limited("main", FILL.format("/y", 60), "50Mi")),
            manifests.pod("container", *two),
            manifests.pod("fits", limited("main", FILL.format("/y", 60), "100Mi")),
        ),
        *n,
    )
    told = {
        "pod": "Pod ephemeral local storage usage exceeds the total limit of containers 50Mi. ",
        "container": 'Container small exceeded its local ephemeral storage limit "20Mi". ',
    }
    for name in told:
        lab.wait(f"pod/{name}", "jsonpath={.status.phase}=Failed", *n)
    evicted = labs.until(
        lambda: [
            pod
            for pod in lab.items("pods", *n, "-l", "app=web")
            if pod["status"]["phase"] == "Failed"
        ],
        "a pod of the Deployment evicted",
    )
    told[evicted[0]["metadata"]["name"]] = 'Usage of EmptyDir volume "x" exceeds the limit "10Mi". '
    events = lab.items("events", *n)
    for name, message in told.items():
        status = lab.get("pod", name, *n)["status"]
        assert (status["reason"], status["message"]) == ("Evicted", message)
        (target,) = [c for c in status["conditions"] if c["type"] == "DisruptionTarget"]
        assert (target["status"], target["reason"]) == ("True", "TerminationByKubelet")
        assert ("Warning", "Evicted", message) in {
            (e["type"], e["reason"], e["message"])
            for e in events
            if e["involvedObject"]["name"] == name
        }
        assert all("terminated" in each["state"] for each in status["containerStatuses"])
    # Its controller has another one, and who keeps to the limit goes on.
    others = lab.items("pods", *n, "-l", "app=web")
    assert len({pod["metadata"]["uid"] for pod in others}) > 1
    assert lab.get("pod/fits", *n)["status"]["phase"] == "Running"


def test_the_kubelets_summary(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    mounts, volumes = scratch()
    script = FILL.format("/x/y", 3) + FILL.format("/layer", 2) + "echo ready; "
    main = manifests.container(
        script + manifests.IDLE, resources={"limits": {"memory": "64Mi"}}, **mounts
    )
    side = manifests.container(name="side")
    lab.apply(manifests.pod("p", main, side, labels={"app": "measured"}, **volumes), *n)
    lab.wait("pod/p", "condition=Ready", *n)
    labs.until(lambda: "ready" in lab.try_kubectl("logs", "p", *n, "-c", "main").stdout, "written")
    url = f"/api/v1/nodes/{lab.name}/proxy"
    summary = json.loads(lab.kubectl("get", "--raw", f"{url}/stats/summary"))
    node = summary["node"]
    assert node["nodeName"] == lab.name
    assert node["memory"]["workingSetBytes"] > 0 < node["fs"]["capacityBytes"]
    assert node["cpu"]["usageCoreNanoSeconds"] > 0 < node["rlimit"]["maxpid"]
    assert node["runtime"]["imageFs"]["usedBytes"] > 0
    assert any(each["name"] for each in node["network"]["interfaces"])
    (pod,) = [each for each in summary["pods"] if each["podRef"]["namespace"] == namespace]
    containers = {each["name"]: each for each in pod["containers"]}
    assert set(containers) == {"main", "side"}
    found = containers["main"]
    assert 0 < found["memory"]["workingSetBytes"] < 64 << 20
    assert found["memory"]["availableBytes"] < 64 << 20
    assert found["rootfs"]["usedBytes"] >= 2 << 20
    assert 0 < found["logs"]["usedBytes"] < 1 << 20
    assert found["startTime"]
    (volume,) = [each for each in pod["volume"] if each["name"] == "x"]
    assert 3 << 20 <= volume["usedBytes"] < 4 << 20
    assert pod["ephemeral-storage"]["usedBytes"] >= 5 << 20
    assert pod["network"]["name"] == "eth0"
    assert pod["network"]["txBytes"] >= 0
    assert pod["process_stats"]["process_count"] >= 2
    assert pod["memory"]["workingSetBytes"] >= found["memory"]["workingSetBytes"]
    bare = json.loads(lab.kubectl("get", "--raw", f"{url}/stats/summary?only_cpu_and_memory=true"))
    assert "fs" not in bare["node"]
    text = lab.kubectl("get", "--raw", f"{url}/metrics/resource")
    where = f'namespace="{namespace}",pod="p"'
    assert f'container_memory_working_set_bytes{{container="main",{where}}}' in text
    assert f"pod_cpu_usage_seconds_total{{{where}}}" in text
    assert "\nnode_cpu_usage_seconds_total " in text
    assert "\nscrape_error 0\n" in text
    assert lab.api("GET", f"{url}/nothing/here").status == 404
    assert lab.api("GET", "/api/v1/nodes/nobody/proxy/stats/summary").status == 404

    top = [line.split() for line in lab.kubectl("top", "pod", "--containers", *n).splitlines()[1:]]
    assert {(line[0], line[1]) for line in top} == {("p", "main"), ("p", "side")}
    everywhere = lab.kubectl("top", "pod", "-A", "-l", "app=measured", "--sort-by=memory")
    assert [line.split()[:2] for line in everywhere.splitlines()[1:]] == [[namespace, "p"]]
    assert lab.kubectl("top", "node", "--sort-by=cpu").splitlines()[1].split()[0] == lab.name


def test_a_child_out_of_memory_is_told(lab: labs.Lab, namespace: str) -> None:
    """Whether the kernel ends all of the container or only the child that wanted too much."""
    n = ("-n", namespace)
    script = "awk 'BEGIN { s = \"x\"; while (1) s = s s }'; exit 3"
    hungry = manifests.container(script, resources={"limits": {"memory": "32Mi"}})
    lab.apply(manifests.pod("parent", hungry, restartPolicy="Never"), *n)
    lab.wait("pod/parent", "jsonpath={.status.phase}=Failed", *n)
    ended = lab.get("pod/parent", *n)["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["reason"] == "OOMKilled"
    assert ended["exitCode"] in (3, 137)


def test_what_does_not_fit_is_told_in_kubernetes_words(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    alike = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": [alike]}
    apart, together = {"podAntiAffinity": required}, {"podAffinity": required}
    spread = {"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    host = {**spread, "topologyKey": "kubernetes.io/hostname"}
    zone = {**spread, "topologyKey": "topology.kubernetes.io/region-nobody-has"}
    huge = manifests.container(resources={"requests": {"memory": "1Ti", "cpu": "1000"}})
    lab.apply(
        manifests.listed(
            manifests.pod("lonely", affinity=together),
            manifests.pod("even", topologySpreadConstraints=[host]),
            manifests.pod("nowhere", topologySpreadConstraints=[zone]),
            manifests.pod("huge", huge),
            manifests.pod("forced", huge, nodeName=lab.name),
            manifests.pod("picky", nodeName=lab.name, nodeSelector={"disk": "gold"}),
            manifests.pod("theirs", schedulerName="another"),
        ),
        *n,
    )
    head, tail = "0/1 nodes are available: 1 ", " preemption: 0/1 nodes are available: 1 "
    useless = "Preemption is not helpful for scheduling."
    for name, reason in (
        ("lonely", "node(s) didn't match pod affinity rules."),
        (
            "nowhere",
            f"{SPREAD} (missing required label).",
        ),
        ("huge", "Insufficient cpu, 1 Insufficient memory."),
    ):
        labs.until(lambda name=name: _scheduled(lab, name, n), f"{name} is judged")  # type: ignore[misc]
        said = _scheduled(lab, name, n)
        assert (said["status"], said["reason"]) == ("False", "Unschedulable")
        assert said["message"].startswith(f"{head}{reason}")
        assert said["message"].endswith(f"{tail}{useless}")
    for name, reason, told in (
        ("forced", "OutOfcpu", "Node didn't have enough resource: cpu, requested: 1000000, used: "),
        ("picky", "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's "),
    ):
        lab.wait(f"pod/{name}", "jsonpath={.status.phase}=Failed", *n)
        status = lab.get("pod", name, *n)["status"]
        assert status["reason"] == reason
        assert status["message"].startswith(f"Pod was rejected: {told}")
    lab.wait("pod/even", "condition=Ready", *n)
    # Whom it wants to be with has come; who will not be beside it waits.
    lab.apply(manifests.pod("b", labels={"a": "b"}), *n)
    lab.wait("pod/lonely", "condition=Ready", *n)
    lab.apply(manifests.pod("shy", affinity=apart), *n)
    labs.until(lambda: _scheduled(lab, "shy", n), "it is judged")
    assert _scheduled(lab, "shy", n)["message"] == (
        f"{head}node(s) didn't match pod anti-affinity rules.{tail}"
        "No preemption victims found for incoming pod."
    )
    lab.kubectl("delete", "pod", "b", *n)
    lab.wait("pod/shy", "condition=Ready", *n)
    theirs = lab.get("pod/theirs", *n)
    assert theirs["status"]["phase"] == "Pending"
    assert not theirs["status"].get("conditions")
    assert not [e for e in lab.items("events", *n) if e["involvedObject"]["name"] == "theirs"]


def _scheduled(lab: labs.Lab, name: str, n: tuple[str, ...]) -> Any:
    conditions = lab.get("pod", name, *n)["status"].get("conditions") or []
    return next((each for each in conditions if each["type"] == "PodScheduled"), None)


def test_amounts_that_cannot_be_are_refused_in_kubernetes_words(
    lab: labs.Lab, namespace: str
) -> None:
    n = ("-n", namespace)
    name = "devices.edgeorch.io/gps"
    where = "spec.containers[0].resources"
    for resources, told in (
        (
            {"limits": {"memory": "64Mi"}, "requests": {"memory": "128Mi"}},
            f'{where}.requests: Invalid value: "128Mi": must be less than or equal to memory',
        ),
        (
            {"limits": {name: "1500m"}, "requests": {name: "1500m"}},
            f'{where}.limits[{name}]: Invalid value: "1500m": must be an integer',
        ),
        (
            {"limits": {name: "2"}, "requests": {name: "1"}},
            f'{where}.requests: Invalid value: "1": must be equal to {name} limit of 2',
        ),
        ({"requests": {name: "1"}}, "Limit must be set for non overcommitable resources"),
    ):
        pod = manifests.pod("wrong", manifests.container(resources=resources))
        refused = lab.try_kubectl("create", "-f", "-", *n, stdin=pod)
        assert refused.returncode != 0
        assert told in refused.stderr
