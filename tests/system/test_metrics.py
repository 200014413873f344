"""What a device tells of itself moves with what happens on it, and goes with what it is about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import exposition

from . import lab as labs
from . import manifests


def told(lab: labs.Lab) -> exposition.Told:
    return exposition.parse(lab.api("GET", "/metrics").body.decode())


@pytest.fixture(scope="module")
def before(lab: labs.Lab) -> exposition.Told:
    return told(lab)


@pytest.fixture(scope="module")
def busy(lab: labs.Lab, before: exposition.Told) -> Iterator[str]:
    """A namespace in which something of each kind goes on, and goes wrong."""
    name = "figures"
    lab.kubectl("create", "namespace", name)
    failing = manifests.container()
    failing["readinessProbe"] = {"exec": {"command": ["false"]}, "periodSeconds": 1}
    asks = "nslookup kubernetes.default.svc.cluster.local; nslookup outside.example; "
    # Nothing listens there: the registry answers no, at once.
    nowhere = manifests.container() | {"image": "localhost:1/nothing:1"}
    lab.apply(
        manifests.listed(
            manifests.pod("crashes", manifests.container("exit 1")),
            manifests.pod("asks", manifests.container(asks + manifests.IDLE)),
            manifests.pod("unready", failing),
            manifests.pod("waits", nowhere),
            manifests.service("door"),
        ),
        "-n",
        name,
    )
    yield name
    lab.kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("controller_runtime_reconcile_total", {"result": "success"}),
        ("workqueue_adds_total", {"name": "endpoint-slice-controller"}),
        ("workqueue_work_duration_seconds_count", {}),
        ("edgeorch_pod_worker_turn_duration_seconds_count", {}),
        ("kubelet_runtime_operations_total", {"operation_type": "run_podsandbox"}),
        ("kubelet_runtime_operations_total", {"operation_type": "start_container"}),
        ("kubelet_runtime_operations_duration_seconds_count", {}),
        ("kubelet_pod_start_duration_seconds_count", {}),
        ("edgeorch_pod_network_operations_total", {"operation": "attach", "result": "success"}),
        ("edgeorch_pod_networks", {}),
        ("edgeorch_image_pulls_total", {"result": "error"}),
        ("edgeorch_dns_queries_total", {"protocol": "udp"}),
        ("edgeorch_dns_replies_total", {"outcome": "zone"}),
        ("edgeorch_dns_replies_total", {"outcome": "failed"}),
        ("kubeproxy_sync_proxy_rules_duration_seconds_count", {}),
        ("edgeorch_nft_transactions_total", {"result": "success"}),
        ("edgeorch_nft_transaction_duration_seconds_count", {}),
        ("edgeorch_store_commit_duration_seconds_count", {}),
        ("edgeorch_store_committed_bytes_total", {}),
        ("apiserver_request_duration_seconds_count", {"verb": "create", "resource": "pods"}),
        ("prober_probe_duration_seconds_count", {"probe_type": "Readiness"}),
    ],
)
def test_a_figure_moves(
    lab: labs.Lab, before: exposition.Told, busy: str, name: str, labels: dict[str, str]
) -> None:
    assert any(name.startswith(family) for family in before)
    was = before.value(name, **labels)
    labs.until(lambda: told(lab).value(name, **labels) > was, f"{name} moves")


def test_figures_of_a_pod_are_there_as_long_as_it_is(lab: labs.Lab, busy: str) -> None:
    pods = [pod["metadata"] for pod in lab.items("pods", "-n", busy)]
    uids = {pod["name"]: pod["uid"] for pod in pods}

    def restarts() -> float:
        of = {"namespace": busy, "pod": "crashes", "uid": uids["crashes"], "container": "main"}
        return told(lab).value("kube_pod_container_status_restarts_total", **of)

    def probed(result: str) -> float:
        of = {"namespace": busy, "pod": "unready", "pod_uid": uids["unready"], "container": "main"}
        return told(lab).value("prober_probe_total", probe_type="Readiness", result=result, **of)

    labs.until(lambda: restarts() >= 1, "the restart counts")
    labs.until(lambda: probed("failed") >= 2, "each probe counts")
    assert probed("successful") == 0
    lab.kubectl("delete", "pods", "-n", busy, "--all", "--now")
    labs.until(lambda: busy not in lab.api("GET", "/metrics").body.decode(), "nothing is left")


def test_what_is_so_is_told(lab: labs.Lab) -> None:
    figures = told(lab)
    node = lab.items("nodes")[0]["metadata"]["name"]
    ready = {"node": node, "condition": "Ready"}
    assert figures.value("kube_node_status_condition", **ready, status="true") == 1
    assert figures.value("kube_node_status_condition", **ready, status="false") == 0
    for signal in ("memory.available", "nodefs.available", "nodefs.inodesFree", "pid.available"):
        of = {"eviction_signal": signal}
        available = figures.value("edgeorch_eviction_signal_available", **of)
        assert 0 < available <= figures.value("edgeorch_eviction_signal_capacity", **of)
    assert figures.value("edgeorch_images") > 0
    assert figures.value("edgeorch_images_bytes") > 1_000_000
    assert figures.value("apiserver_storage_size_bytes") > 0
    assert figures.value("edgeorch_store_watches") > 0
    ends = figures["edgeorch_certificate_expiry_timestamp_seconds"].samples
    assert {dict(labels)["certificate"] for _, labels in ends} == {"serving", "ca"}
    assert min(ends.values()) > figures.value("process_start_time_seconds")


def test_any_word_as_a_method_makes_no_figure_of_its_own(lab: labs.Lab) -> None:
    lab.api("TRACE", "/healthz")
    verbs = {dict(labels)["verb"] for _, labels in told(lab)["apiserver_request_total"].samples}
    assert "trace" not in verbs
    assert "other" in verbs


def test_figures_shrink_on_their_way(lab: labs.Lab) -> None:
    plain = lab.api("GET", "/metrics")
    small = lab.api("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
    assert small.headers["Content-Encoding"] == "gzip"
    assert len(small.body) < len(plain.body) / 4
    assert lab.api("HEAD", "/metrics", headers={"Accept-Encoding": "gzip"}).status == 200
