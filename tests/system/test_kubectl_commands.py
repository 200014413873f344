"""Everyday commands beyond the primer, with the newest kubectl and the oldest that is found."""

from __future__ import annotations

import pytest

from . import lab as labs

VERSIONS = [next(iter(labs.kubectls())), list(labs.kubectls())[-1]]
MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "m"},
    "data": {"x": "1"},
}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_server_side_apply_and_its_conflicts(lab: labs.Lab, namespace: str, version: str) -> None:
    n = ("-n", namespace)
    told = lab.kubectl("apply", "--server-side", "-f", "-", *n, stdin=MAP, version=version)
    assert told == "configmap/m serverside-applied\n"
    other = {**MAP, "data": {"x": "2"}}
    command = ("apply", "--server-side", "--field-manager=other", "-f", "-", *n)
    refused = lab.try_kubectl(*command, stdin=other, version=version)
    assert refused.returncode == 1
    assert 'Apply failed with 1 conflict: conflict with "kubectl"' in refused.stderr
    lab.kubectl(*command, "--force-conflicts", stdin=other, version=version)
    assert lab.get("cm", "m", *n)["data"] == {"x": "2"}


def test_diff_tells_what_would_change(lab: labs.Lab, namespace: str, version: str) -> None:
    n = ("-n", namespace)
    lab.kubectl("apply", "-f", "-", *n, stdin=MAP, version=version)
    other = {**MAP, "data": {"x": "2"}}
    changed = lab.try_kubectl("diff", "-f", "-", *n, stdin=other, version=version)
    assert changed.returncode == 1
    assert '+  x: "2"' in changed.stdout
    assert lab.get("cm", "m", *n)["data"] == {"x": "1"}


GENERATORS = {
    "role": ("role", "r", "--verb=get", "--resource=pods"),
    "rolebinding": ("rolebinding", "r", "--role=r", "--serviceaccount=default:default"),
    "ingress": ("ingress", "i", "--rule=host.example/*=web:80"),
    "quota": ("quota", "q", "--hard=pods=2"),
    "configmap": ("configmap", "c", "--from-literal=a=b"),
    "secret": ("secret", "generic", "s", "--from-literal=a=b"),
    "serviceaccount": ("serviceaccount", "a"),
    "pdb": ("pdb", "p", "--selector=a=b", "--min-available=1"),
    "deployment": ("deployment", "d", "--image=nginx:1.25", "--replicas=0"),
    "service": ("service", "clusterip", "w", "--tcp=80"),
}


@pytest.mark.parametrize("kind", GENERATORS)
def test_create_generators(lab: labs.Lab, namespace: str, kind: str) -> None:
    told = lab.kubectl("create", *GENERATORS[kind], "-n", namespace)
    assert told.rstrip().endswith("created")


def test_who_am_i_and_what_may_i(lab: labs.Lab, version: str) -> None:
    assert lab.kubectl("auth", "can-i", "create", "pods", version=version) == "yes\n"
    assert "*.*" in lab.kubectl("auth", "can-i", "--list", version=version)
    assert "system:admin" in lab.kubectl("auth", "whoami")


def test_a_created_token_opens_the_api(lab: labs.Lab, namespace: str, version: str) -> None:
    if version == "1.20":
        pytest.skip("kubectl creates tokens since 1.24")
    token = lab.kubectl("create", "token", "default", "-n", namespace, version=version).strip()
    me = lab.kubectl("--token", token, "auth", "whoami", "-o", "jsonpath={.status.userInfo}")
    assert token.count(".") == 2
    assert me


def test_the_node_shows_a_sign_of_life(lab: labs.Lab) -> None:
    told = lab.kubectl("describe", "node", lab.name)
    assert f"HolderIdentity:  {lab.name}" in told
    lease = lab.get("lease", lab.name, "-n", "kube-node-lease")["spec"]
    assert lease["leaseDurationSeconds"] == 40

    def renewed() -> bool:
        now = lab.get("lease", lab.name, "-n", "kube-node-lease")["spec"]
        return bool(now["renewTime"] > lease["renewTime"])

    labs.until(renewed, "the lease is renewed")


def test_top_nodes_tells_cpu_and_memory(lab: labs.Lab, version: str) -> None:
    head, row, *_ = lab.kubectl("top", "nodes", version=version).splitlines()
    assert head.split()[:2] == ["NAME", "CPU(cores)"]
    assert row.split()[1].endswith("m")
    assert row.split()[3].endswith("Mi")


KINDS = [
    "ingress",
    "netpol",
    "hpa",
    "role",
    "rolebinding",
    "quota",
    "limits",
    "pvc",
    "podtemplates",
    "leases",
]
GLOBAL = [
    "clusterrole",
    "clusterrolebinding",
    "sc",
    "pv",
    "pc",
    "runtimeclass",
    "ingressclass",
    "csidriver",
]


@pytest.mark.parametrize("kind", [*KINDS, *GLOBAL])
def test_every_kind_is_served_and_explained(lab: labs.Lab, namespace: str, kind: str) -> None:
    assert lab.try_kubectl("get", kind, "-n", namespace).returncode == 0
    assert "FIELDS:" in lab.kubectl("explain", kind)
