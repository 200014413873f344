"""What a Pod gets from its ServiceAccount, as Kubernetes' admission plugin gives it."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.core import service_accounts

Object = dict[str, Any]


def pod(*containers: Object, **spec: Any) -> Object:
    made = [{"name": "main", "image": "i"}] if not containers else list(containers)
    return {"metadata": {"name": "p", "namespace": "ns"}, "spec": {"containers": made, **spec}}


def account(**fields: Any) -> Object:
    return {"metadata": {"name": "default", "namespace": "ns"}, **fields}


def test_every_container_gets_the_token_at_the_usual_place() -> None:
    made = pod(initContainers=[{"name": "first"}])
    service_accounts.complete(made, account(), "abcde")
    spec = made["spec"]
    mount = {
        "name": "kube-api-access-abcde",
        "readOnly": True,
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
    }
    for container in [*spec["initContainers"], *spec["containers"]]:
        assert container["volumeMounts"] == [mount]
    (volume,) = spec["volumes"]
    projected = volume["projected"]
    token, ca, namespace = projected["sources"]
    assert token == {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    assert ca["configMap"]["name"] == "kube-root-ca.crt"
    assert namespace["downwardAPI"]["items"][0]["path"] == "namespace"
    assert projected["defaultMode"] == 0o644


@pytest.mark.parametrize(
    ("of_pod", "of_account", "mounted"),
    [
        (None, None, True),
        (None, False, False),
        (False, None, False),
        (True, False, True),
        (False, True, False),
    ],
)
def test_the_pods_wish_about_mounting_comes_first(
    of_pod: bool | None, of_account: bool | None, mounted: bool
) -> None:
    made = pod(automountServiceAccountToken=of_pod)
    service_accounts.complete(made, account(automountServiceAccountToken=of_account), "abcde")
    assert bool(made["spec"].get("volumes")) is mounted


def test_what_is_mounted_there_already_is_left_alone() -> None:
    own = {"name": "own", "mountPath": service_accounts.MOUNT_PATH}
    made = pod({"name": "main", "volumeMounts": [own]}, volumes=[{"name": "own"}])
    service_accounts.complete(made, account(), "abcde")
    assert made["spec"]["volumes"] == [{"name": "own"}]
    assert made["spec"]["containers"][0]["volumeMounts"] == [own]


def test_a_volume_of_that_name_is_used_again() -> None:
    made = pod(volumes=[{"name": "kube-api-access-zzzzz"}])
    service_accounts.complete(made, account(), "abcde")
    assert made["spec"]["volumes"] == [{"name": "kube-api-access-zzzzz"}]
    assert made["spec"]["containers"][0]["volumeMounts"][0]["name"] == "kube-api-access-zzzzz"


def test_pull_secrets_come_from_the_account_unless_the_pod_has_its_own() -> None:
    made, own = pod(), pod(imagePullSecrets=[{"name": "mine"}])
    for each in (made, own):
        service_accounts.complete(each, account(imagePullSecrets=[{"name": "s"}]), "abcde")
    assert made["spec"]["imagePullSecrets"] == [{"name": "s"}]
    assert own["spec"]["imagePullSecrets"] == [{"name": "mine"}]


def test_a_missing_account_is_refused_in_kubernetes_words() -> None:
    made = pod(serviceAccountName="robot")
    error = service_accounts.not_found(made)
    assert error.code == 403
    assert error.message == (
        'pods "p" is forbidden: error looking up service account ns/robot: '
        'serviceaccount "robot" not found'
    )
    made["metadata"] |= {"generateName": "web-", "name": "web-x2b4k"}
    assert service_accounts.not_found(made).message.startswith('pods "web-" is forbidden')


@pytest.mark.parametrize("volume", [{}, {"name": None}, {"name": "data"}])
def test_a_volume_without_a_name_is_left_to_validation(volume: Object) -> None:
    made = pod(volumes=[volume])
    service_accounts.complete(made, account(), "abcde")
    assert [each.get("name") for each in made["spec"]["volumes"]][1:] == ["kube-api-access-abcde"]
