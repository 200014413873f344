"""The parts of a container: labels, environment, cgroups, files, its OCI spec."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from edgeorch.core import cgroups, container_labels, env, oci_spec, pod_files, qos, seccomp
from edgeorch.core.observed import Exit, Kind
from edgeorch.lib import json
from edgeorch.model import views
from tests.unit.core import pods

GOLDEN = pathlib.Path(__file__).parent / "golden"


# --- labels -------------------------------------------------------------------------------------

texts = st.text(max_size=6000)
exits = st.builds(
    Exit,
    code=st.integers(0, 255),
    reason=st.sampled_from(["Error", "OOMKilled"]),
    message=texts,
    started=st.just("2026-01-01T00:00:00Z"),
    finished=st.just("2026-01-01T00:00:01Z"),
    at=st.floats(0, 1e9),
    container_id=st.just("x"),
)


@given(exits)
def test_an_end_fits_a_label_and_comes_back(ended: Exit) -> None:
    text = container_labels.encode_exit(ended)
    assert len(container_labels.ENDED) + len(text.encode()) <= 4096
    back = container_labels.decode_exit(text, this_boot=True)

    assert back is not None
    assert ended.message.startswith(back.message)
    assert (back.code, back.reason, back.at) == (ended.code, ended.reason, ended.at)


def test_a_birth_comes_back_as_a_container() -> None:
    birth = container_labels.Birth(
        "u", "p", "ns", "main", Kind.SIDECAR, 3, "hash", "box", "boot", "img", "img@x", 2, 5.0, 7.5,
        "SIGQUIT", "/cg", Exit(1, "Error", container_id="old"),
    )  # fmt: skip
    labels = container_labels.encode(birth)
    found = container_labels.decode("id", labels, "boot")
    assert (found.name, found.kind, found.attempt, found.crashes) == ("main", Kind.SIDECAR, 3, 2)
    assert (found.created_at, found.sandbox, found.image_id) == (7.5, "box", "img@x")
    assert found.last is not None
    assert found.last.container_id == "old"
    assert container_labels.accepted_at(labels, "boot") == 5.0
    other_boot = container_labels.decode("id", labels, "another")

    assert other_boot.created_at is None
    assert container_labels.accepted_at(labels, "another") is None


@pytest.mark.parametrize(
    "name", ["main", "a--b", "a" * 63, "x-1"], ids=["plain", "two dashes", "long", "digit"]
)
def test_container_ids_obey_containerd(name: str) -> None:
    uid = "19a1f47f-5803-4d34-be42-cc2852d34fbb"
    found = container_labels.container_id(uid, name, 12)

    # containerd takes up to 76 such characters; log shippers look for 64 of these.
    assert re.fullmatch(r"[0-9a-f]{64}", found)
    assert found != container_labels.container_id(uid, name, 13)


# --- environment --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$(A)", "1"), ("x$(A)y$(A)", "x1y1"), ("$(UNKNOWN)", "$(UNKNOWN)"), ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"), ("$A", "$A"), ("$(A", "$(A"), ("$", "$"), ("$$", "$"), ("a$", "a$"),
        ("$()", "$()"),
    ],
)  # fmt: skip
def test_expansion(text: str, value: str) -> None:
    assert env.expand(text, {"A": "1"}) == value


def _variables(container: dict[str, Any], services: dict[str, str] | None = None) -> dict[str, str]:
    pod = pods.pod(containers=[{"name": "main", **container}])
    objects = {
        ("configmaps", "c"): views.DataObject(metadata=views.Meta(), data={"K": "v"}),
        ("secrets", "s"): views.DataObject(metadata=views.Meta(), data={"T": "aHVzaA=="}),
    }
    return env.variables(
        pod,
        pod.spec.containers[0],
        lambda resource, name: objects.get((resource, name)),
        env.Facts("node", "192.0.2.1", "10.42.0.2", {"cpu": "4", "memory": "1024"}),
        services or {},
    )


def test_later_variables_see_earlier_ones_and_services() -> None:
    container = {
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}],
        "env": [{"name": "X", "value": "$(P_K) $(SVC)"}, {"name": "Y", "value": "$(X)"}],
    }
    found = _variables(container, {"SVC": "s", "X": "not this"})

    assert found == {"SVC": "s", "P_K": "v", "X": "v s", "Y": "v s"}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"configMapKeyRef": {"name": "no", "key": "K"}}, 'configmap "no" not found'),
        ({"configMapKeyRef": {"name": "c", "key": "no"}},
         "couldn't find key no in ConfigMap default/c"),
        ({"secretKeyRef": {"name": "s", "key": "no"}}, "couldn't find key no in Secret default/s"),
    ],
)  # fmt: skip
def test_references_that_lead_nowhere(source: dict[str, Any], told: str) -> None:
    with pytest.raises(env.ConfigError, match=told):
        _variables({"env": [{"name": "X", "valueFrom": source}]})
    ((kind, ref),) = source.items()
    optional = {kind: {**ref, "optional": True}}
    assert _variables({"env": [{"name": "X", "valueFrom": optional}]}) == {}


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", "1m", "250"), ("limits.cpu", "1", "1"), ("limits.memory", "1Mi", "64"),
        ("requests.memory", "0", "0"), ("limits.memory", "0", str(64 << 20)),
    ],
)  # fmt: skip
def test_resource_fields(resource: str, divisor: str, value: str) -> None:
    ref = {"resourceFieldRef": {"resource": resource, "divisor": divisor}}
    limits = {"resources": {"limits": {"cpu": "250m", "memory": "64Mi"}}}

    assert _variables({**limits, "env": [{"name": "X", "valueFrom": ref}]}) == {"X": value}


def test_services_as_variables() -> None:
    service = views.decode(
        json.encode(
            {
                "metadata": {"name": "my-db"},
                "spec": {"clusterIP": "10.43.0.9", "ports": [{"name": "sql", "port": 5432}]},
            }
        ),
        views.Service,
    )

    assert env.service_variables([service]) == {
        "MY_DB_SERVICE_HOST": "10.43.0.9",
        "MY_DB_SERVICE_PORT": "5432",
        "MY_DB_SERVICE_PORT_SQL": "5432",
        "MY_DB_PORT": "tcp://10.43.0.9:5432",
        "MY_DB_PORT_5432_TCP": "tcp://10.43.0.9:5432",
        "MY_DB_PORT_5432_TCP_PROTO": "tcp",
        "MY_DB_PORT_5432_TCP_PORT": "5432",
        "MY_DB_PORT_5432_TCP_ADDR": "10.43.0.9",
    }


# --- quality of service and cgroups -------------------------------------------------------------


def _with(**resources: dict[str, str]) -> views.Pod:
    return pods.pod(containers=[{"name": "main", "resources": resources}])


@pytest.mark.parametrize(
    ("resources", "tier"),
    [
        ({}, qos.BEST_EFFORT),
        ({"limits": {"ephemeral-storage": "1Gi"}}, qos.BEST_EFFORT),
        ({"requests": {"cpu": "1"}}, qos.BURSTABLE),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, qos.GUARANTEED),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, qos.BURSTABLE),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}}, qos.GUARANTEED),
    ],
)
def test_qos(resources: dict[str, Any], tier: str) -> None:
    assert qos.qos_class(_with(**resources).spec) == tier


@pytest.mark.parametrize(("request_", "score"), [("0", 999), ("512Mi", 500), ("2Gi", 3)])
def test_oom_score_by_share_of_memory(request_: str, score: int) -> None:
    container = _with(requests={"memory": request_}).spec.containers[0]

    assert qos.oom_score_adj(container, qos.BURSTABLE, 1 << 30) == score


def test_limits_in_cgroups() -> None:
    asked = _with(requests={"cpu": "250m"}, limits={"cpu": "500m", "memory": "64Mi"})

    assert cgroups.container_limits(asked.spec.containers[0].resources) == cgroups.Limits(
        256, 50_000, 64 << 20
    )
    assert cgroups.pod_limits(asked.spec) == cgroups.Limits(256, 50_000, 64 << 20)
    assert cgroups.pod_limits(pods.pod().spec) == cgroups.Limits(2, None, None)
    assert cgroups.pod_path("/e", qos.BURSTABLE, "u") == "/e/kubepods/burstable/podu"
    assert cgroups.pod_path("/e", qos.GUARANTEED, "u") == "/e/kubepods/podu"
    assert (cgroups.weight(2), cgroups.weight(262_144)) == (1, 10_000)


# --- files --------------------------------------------------------------------------------------


def test_hosts() -> None:
    pod = pods.pod(subdomain="sub", hostAliases=[{"ip": "192.0.2.7", "hostnames": ["a", "b"]}])
    text = pod_files.hosts(pod, "10.42.0.2", "cluster.local")

    assert text.endswith(
        "10.42.0.2\tp.sub.default.svc.cluster.local\tp\n"
        "\n# Entries added by HostAliases.\n192.0.2.7\ta\tb\n"
    )


HOST = pod_files.Resolver(("192.0.2.53",), ("lan",), ("edns0",))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        pytest.param(
            {},
            "search default.svc.cluster.local svc.cluster.local cluster.local lan\n"
            "nameserver 10.43.0.10\noptions ndots:5\n",
            id="cluster first",
        ),
        pytest.param(
            {"hostNetwork": True},
            "search lan\nnameserver 192.0.2.53\noptions edns0\n",
            id="host network",
        ),
        pytest.param(
            {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.1"],
             "options": [{"name": "ndots", "value": "1"}]}},
            "nameserver 192.0.2.1\noptions ndots:1\n",
            id="none",
        ),
        pytest.param(
            {"dnsConfig": {"options": [{"name": "ndots", "value": "2"}]}},
            "search default.svc.cluster.local svc.cluster.local cluster.local lan\n"
            "nameserver 10.43.0.10\noptions ndots:2\n",
            id="option replaced",
        ),
    ],
)  # fmt: skip
def test_resolv_conf(spec: dict[str, Any], text: str) -> None:
    found = pod_files.resolver(pods.pod(**spec), HOST, "10.43.0.10", "cluster.local")

    assert pod_files.resolv_conf(found) == text


# --- the OCI spec -------------------------------------------------------------------------------

MACHINE = oci_spec.Machine(cgroup_v2=True, capabilities=("CAP_SYS_ADMIN", "CAP_NET_ADMIN"))
COUNTS_SWAP = structs.replace(MACHINE, swap_control=True)
BOUNDED = {"limits": {"memory": "64Mi"}}
IMAGE = oci_spec.Image(["/entry"], ["arg"], ["PATH=/bin", "LANG=C"], "/srv")


def _spec(
    container: dict[str, Any], machine: oci_spec.Machine = MACHINE, **around: Any
) -> dict[str, Any]:
    pod = pods.pod(containers=[{"name": "main", **container}])
    box = oci_spec.Surroundings(
        pod_uid="u", hostname="p", cgroups_path="/e/c", network="/ns/net", ipc="/ns/ipc",
        mounts=(oci_spec.Mount("/a/b", "/data/deep"), oci_spec.Mount("/a", "/data", True)),
        **around,
    )  # fmt: skip
    user = oci_spec.User(1000, 1000, (1000, 2000))
    return oci_spec.build(pod.spec.containers[0], IMAGE, {"X": "1"}, user, box, machine)


def test_golden_with_the_default_filter_and_shared_processes() -> None:
    security = {"capabilities": {"drop": ["ALL"], "add": ["SYS_TIME"]}, "procMount": "Unmasked"}
    filtered = seccomp.default_profile(["CAP_SYS_TIME"], "arm64")
    found = _spec({"securityContext": security}, seccomp=filtered, pid="/ns/pid")
    expected = (GOLDEN / "oci_filtered.json").read_text()

    assert json.decode(expected) == json.decode(json.encode(found))


@pytest.mark.parametrize("name", ["plain", "privileged"])
def test_golden(name: str) -> None:
    container: dict[str, Any] = {
        "plain": {
            "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}},
            "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True},
        },
        "privileged": {"securityContext": {"privileged": True}, "tty": True, "args": ["x"]},
    }[name]
    expected = (GOLDEN / f"oci_{name}.json").read_text()

    assert json.decode(expected) == json.decode(json.encode(_spec(container)))


@pytest.mark.parametrize(
    ("container", "args"),
    [
        ({}, ["/entry", "arg"]),
        ({"args": ["x"]}, ["/entry", "x"]),
        ({"command": ["c"]}, ["c"]),
        ({"command": ["c"], "args": ["x"]}, ["c", "x"]),
    ],
)
def test_command_line(container: dict[str, Any], args: list[str]) -> None:
    assert _spec(container)["process"]["args"] == args


@pytest.mark.parametrize(
    ("change", "has", "lacks"),
    [
        ({"add": ["NET_ADMIN"]}, "CAP_NET_ADMIN", "CAP_SYS_ADMIN"),
        ({"drop": ["ALL"], "add": ["CHOWN"]}, "CAP_CHOWN", "CAP_KILL"),
        ({"drop": ["KILL"]}, "CAP_CHOWN", "CAP_KILL"),
    ],
)
def test_capabilities(change: dict[str, Any], has: str, lacks: str) -> None:
    held = _spec({"securityContext": {"capabilities": change}})["process"]["capabilities"]

    assert has in held["effective"]
    assert lacks not in held["bounding"]


@pytest.mark.parametrize(
    ("resources", "machine", "unified"),
    [
        ({}, MACHINE, None),
        ({}, COUNTS_SWAP, {"memory.swap.max": "0"}),
        (BOUNDED, MACHINE, {"memory.oom.group": "1"}),
        (BOUNDED, COUNTS_SWAP, {"memory.oom.group": "1", "memory.swap.max": "0"}),
        (BOUNDED, oci_spec.Machine(cgroup_v2=False, capabilities=()), None),
    ],
    ids=["v2", "v2-swap", "v2-limit", "v2-limit-swap", "v1-limit"],
)
def test_swap_and_the_reach_of_an_oom_kill(
    resources: dict[str, Any], machine: oci_spec.Machine, unified: dict[str, str] | None
) -> None:
    found = _spec({"resources": resources}, machine)["linux"]["resources"]

    assert found.get("unified") == unified


@pytest.mark.ask(27)
def test_without_the_memory_controller_there_is_no_limit_that_runc_would_refuse() -> None:
    machine = structs.replace(MACHINE, memory=False)
    found = _spec({"resources": BOUNDED}, machine)["linux"]["resources"]

    assert not {"memory", "unified"} & set(found)


def test_outer_mounts_come_before_inner_ones() -> None:
    targets = [mount["destination"] for mount in _spec({})["mounts"]]

    assert targets[-2:] == ["/data", "/data/deep"]


def test_the_hosts_own_namespaces() -> None:
    found = _spec({}, host_network=True, host_pid=True, host_ipc=True)
    kinds = {entry["type"] for entry in found["linux"]["namespaces"]}

    assert kinds == {"mount", "cgroup"}
    assert "hostname" not in found
