"""Roles with the real kubectl: by token and by certificate, and what a revocation ends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import lab as labs

NS = ("-n", "default")
ROLES = ("view", "edit", "admin", "fleet", "metrics")
COMMANDS: list[tuple[tuple[str, ...], set[str]]] = [
    # what somebody does, and who may
    (("get", "pods", "-A"), {"view", "edit", "admin"}),
    (("get", "nodes"), {"view", "edit", "admin", "metrics"}),
    (("get", "secrets", *NS), {"edit", "admin"}),
    (("get", "clusterroles"), {"admin"}),
    (("create", "configmap", "mine", *NS), {"edit", "admin"}),
    (("delete", "configmap", "mine", "--ignore-not-found", *NS), {"edit", "admin"}),
    (("create", "namespace", "mine", "--dry-run=server"), {"admin"}),
    (("create", "role", "r", "--verb=get", "--resource=pods", "--dry-run=server", *NS), {"admin"}),
    (("label", "node", "--all", "a=b", "--dry-run=server"), {"admin"}),
    (("top", "nodes"), {"view", "edit", "admin", "metrics"}),
    (("get", "--raw", "/metrics"), {"admin", "metrics"}),
    (("get", "--raw", "/readyz"), set(ROLES)),
    (("api-resources", "--no-headers"), set(ROLES)),
    (("auth", "can-i", "create", "pods/exec"), {"edit", "admin"}),
    (("auth", "whoami"), set(ROLES)),
]

Edgeorch = Callable[..., str]


@pytest.fixture
def edgeorch(lab: labs.Lab) -> Edgeorch:
    def run(*arguments: str) -> str:
        return lab.run("edgeorch", "--config", str(lab.device.config), *arguments).stdout

    return run


@pytest.fixture
def tokens(lab: labs.Lab, edgeorch: Edgeorch) -> Iterator[dict[str, str]]:
    """One token for each role."""
    yield {role: edgeorch("token", "create", f"t-{role}", "--role", role).strip() for role in ROLES}
    edgeorch("token", "revoke", *(f"t-{role}" for role in ROLES))


def as_user(lab: labs.Lab, config: Path, *arguments: str) -> labs.Result:
    return lab.try_kubectl("--kubeconfig", str(config), *arguments)


def test_each_role_does_what_it_is_for(
    lab: labs.Lab, edgeorch: Edgeorch, tokens: dict[str, str], tmp_path: Path
) -> None:
    listed = edgeorch("token", "list")
    assert "t-fleet     fleet" in listed
    for role in ROLES:
        assert tokens[role] not in listed
        config = tmp_path / role
        config.write_text(edgeorch("kubeconfig", "--token", tokens[role]))
        for command, who in COMMANDS:
            result = as_user(lab, config, *command)
            assert (result.returncode == 0) is (role in who), (role, command, result)
            if role not in who and command[:2] != ("auth", "can-i"):
                assert f'forbidden: User "t-{role}" cannot ' in result.stderr


def test_a_fleet_pushes_bundles_and_does_nothing_else(
    lab: labs.Lab, tokens: dict[str, str], namespace: str, tmp_path: Path
) -> None:
    meta = {"name": "pushed", "namespace": namespace}
    bundle = tmp_path / "bundle.json"
    bundle.write_text(json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}))
    url = f"/apis/edgeorch.io/v1/bundles/{namespace}"
    push = ("replace", "--raw", f"{url}/manifests", "-f", str(bundle))
    for role in ("view", "edit", "metrics"):
        refused = lab.try_kubectl("--token", tokens[role], *push)
        assert refused.returncode == 1
        assert f'"t-{role}" cannot update resource "bundles/manifests"' in refused.stderr
    fleet = ("--token", tokens["fleet"])
    assert "pushed" in lab.kubectl(*fleet, *push)
    lab.wait(f"bundle/{namespace}", "jsonpath={.status.phase}=Ready", *fleet)
    assert lab.kubectl("get", "configmap", "pushed", "-n", namespace)
    refused = lab.try_kubectl(*fleet, "get", "configmap", "pushed", "-n", namespace)
    assert '"t-fleet" cannot get resource "configmaps"' in refused.stderr
    assert lab.try_kubectl("--token", tokens["view"], "get", "bundle", namespace).returncode == 0
    version = json.dumps({"spec": {"version": "sha256:" + "0" * 64}})
    refused = lab.try_kubectl(*fleet, "patch", "bundle", namespace, "--type=merge", "-p", version)
    assert '"t-fleet" cannot patch resource "bundles"' in refused.stderr
    lab.kubectl(*fleet, "delete", "bundle", namespace)
    told = re.search(rf'.*edgeorch.audit.* user="t-fleet" .*name="{namespace}".*', lab.log())
    assert told
    assert 'verb="update" resource="bundles.edgeorch.io/manifests"' in told[0]


def test_the_default_roles_can_be_looked_at_and_bound(lab: labs.Lab, namespace: str) -> None:
    names = {item["metadata"]["name"] for item in lab.items("clusterroles")}
    assert names >= {"cluster-admin", "admin", "edit", "view", "system:discovery"}
    assert "configmaps" in lab.kubectl("describe", "clusterrole", "view")
    lab.kubectl("create", "rolebinding", "b", "--clusterrole=view", "--user=x", "-n", namespace)
    can = ("auth", "can-i", "list", "pods", "--as=x", "-n")
    assert lab.try_kubectl(*can, namespace).stdout == "yes\n"
    assert lab.try_kubectl(*can, "default").stdout == "no\n"
    told = lab.kubectl("auth", "can-i", "--list", "--as=x", "-n", namespace)
    assert "secrets" not in told
    assert "selfsubjectaccessreviews.authorization.k8s.io" in told


def test_a_certificate_is_its_role_too(lab: labs.Lab, edgeorch: Edgeorch, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(edgeorch("cert", "create", "ann", "--role", "view", "--kubeconfig"))
    who = json.loads(as_user(lab, config, "auth", "whoami", "-o", "json").stdout)
    found = who["status"]["userInfo"]
    assert found == {"username": "ann", "groups": ["edgeorch:view", "system:authenticated"]}
    assert as_user(lab, config, "get", "pods", "-A").returncode == 0
    refused = as_user(lab, config, "get", "secrets", *NS)
    assert 'secrets is forbidden: User "ann" cannot list resource "secrets"' in refused.stderr
    edgeorch("cert", "create", "bob", "--role", "edit", "--out", str(tmp_path))
    pair = (
        "--client-certificate", str(tmp_path / "bob.crt"),
        "--client-key", str(tmp_path / "bob.key"),
    )  # fmt: skip
    alone = tmp_path / "alone"
    cleared = json.loads(lab.device.kubeconfig.read_text())
    cleared["users"][0]["user"] = {}
    alone.write_text(json.dumps(cleared))
    assert as_user(lab, alone, *pair, "get", "secrets", *NS).returncode == 0
    assert as_user(lab, alone, "get", "pods").returncode == 1


def test_a_revoked_token_is_over_at_once(
    lab: labs.Lab, edgeorch: Edgeorch, namespace: str, tmp_path: Path
) -> None:
    """Also what it watches and follows; and the service is never restarted for it."""
    config = tmp_path / "config"
    config.write_text(edgeorch("kubeconfig", "--role", "view", "--name", "guest"))
    before = lab.pid
    arguments = ("--kubeconfig", str(config), "get", "configmaps", "-n", namespace, "-w")
    with lab.background(*arguments) as watch:
        lab.kubectl("create", "configmap", "first", "-n", namespace)
        watch.until("first")
        edgeorch("token", "revoke", "guest")
        watch.wait()
    refused = as_user(lab, config, "get", "pods")
    assert refused.returncode == 1
    assert "must be logged in" in refused.stderr or "Unauthorized" in refused.stderr
    assert lab.pid == before


def test_no_token_for_who_is_not_understood(lab: labs.Lab) -> None:
    for arguments, told in (
        (("create", "system:admin", "--role", "view"), "is no name"),
        (("create", "a", "--role", "view", "--expires", "soon"), "is no span of time"),
        (("revoke", "nobody"), "there is no token nobody"),
    ):
        result = lab.run(
            "edgeorch", "--config", str(lab.device.config), "token", *arguments, check=False
        )
        assert (result.returncode, told in result.stderr) == (1, True), result
