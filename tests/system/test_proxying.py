"""HTTP to pods and Services by way of the API, as `kubectl proxy` and dashboards ask for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import clients, manifests
from . import lab as labs

NAMESPACE = "proxying"
N = ("-n", NAMESPACE)
ROOT = f"/api/v1/namespaces/{NAMESPACE}"
# Says what it was asked: the request line, the headers, and as much of a body as is announced.
ECHO = """\
cat >/tmp/echo <<'END'
r=$(printf '\\r')
printf 'HTTP/1.0 200 OK\\r\\nX-Own: yes\\r\\nLocation: /there\\r\\nConnection: close\\r\\n\\r\\n'
while read -r line; do
    [ "$line" = "$r" ] && break
    echo "$line"
    case $line in Content-Length:*) n=${line#*: }; n=${n%$r};; esac
done
[ -z "$n" ] || head -c "$n"
END
exec nc -ll -p 7000 -e sh /tmp/echo
"""


@pytest.fixture(scope="module", autouse=True)
def stage(lab: labs.Lab) -> Iterator[None]:
    lab.kubectl("create", "namespace", NAMESPACE)
    lab.apply(
        manifests.listed(
            manifests.deployment("web", manifests.web(), replicas=2),
            manifests.service("web", "ClusterIP"),
            manifests.service("empty", "ClusterIP"),
            manifests.pod("echo", manifests.container(ECHO)),
        ),
        *N,
    )
    lab.rollout("deploy/web", *N)
    lab.wait("pod/echo", "condition=Ready", *N)
    labs.until(lambda: asked(lab, "GET", "pods/echo:7000/proxy/").status == 200, "it listens")
    url = "services/web/proxy/"
    labs.until(lambda: asked(lab, "GET", url).status == 200, "endpoints are told")
    yield
    lab.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s", seconds=70)


def asked(
    lab: labs.Lab, method: str, path: str, body: bytes | None = None, **headers: str
) -> clients.Answer:
    return lab.api(method, f"{ROOT}/{path}", body, headers=headers)


@pytest.mark.parametrize(
    "name", ["services/web", "services/web:80", "services/http:web:80", "pods/POD", "pods/POD:80"]
)
def test_pages_come_from_pods_and_services(lab: labs.Lab, name: str) -> None:
    pod = lab.items("pods", "-l", "app=web", *N)[0]["metadata"]["name"]
    told = lab.kubectl("get", "--raw", f"{ROOT}/{name.replace('POD', pod)}/proxy/version")
    assert told.strip() == "1.25"


def test_all_of_a_request_and_of_its_answer_is_passed_on(lab: labs.Lab) -> None:
    path = "pods/echo:7000/proxy/a%2Fb/c?x=1&y=%20"
    secret = {"Authorization": "Bearer secret", "X-Mine": "yes"}
    answer = asked(lab, "POST", path, b"the body", **secret)
    said = answer.body.decode()
    assert said.startswith("POST /a%2Fb/c?x=1&y=%20 HTTP/1.1")
    assert said.endswith("the body")
    assert "X-Mine: yes" in said
    assert "secret" not in said
    assert answer.headers["X-Own"] == "yes"
    assert answer.headers["Location"] == f"{ROOT}/pods/echo:7000/proxy/there"


def test_the_root_has_its_slash(lab: labs.Lab) -> None:
    answer = asked(lab, "GET", "pods/echo:7000/proxy?a=b")
    assert answer.status == 301
    assert answer.headers["Location"] == f"{ROOT}/pods/echo:7000/proxy/?a=b"


@pytest.mark.parametrize(
    ("path", "code", "told"),
    [
        ("pods/none/proxy/", 404, 'pods "none" not found'),
        ("services/none/proxy/", 404, 'services "none" not found'),
        ("services/web:81/proxy/", 503, 'no service port 81 found for service "web"'),
        ("services/empty/proxy/", 503, 'no endpoints available for service "empty"'),
        ("pods/echo:7001/proxy/", 503, "error trying to reach service: dial tcp 10."),
        ("pods/echo:x/proxy/", 400, 'invalid port "x"'),
        ("pods/a:b:c:d/proxy/", 400, 'invalid pod request "a:b:c:d"'),
    ],
)
def test_what_cannot_be_reached_is_told(lab: labs.Lab, path: str, code: int, told: str) -> None:
    answer = asked(lab, "GET", path)
    assert answer.status == answer.json["code"] == code
    assert told in answer.json["message"]


def test_a_pod_on_the_devices_own_loopback_is_not_reached(lab: labs.Lab) -> None:
    """Whoever may write a pod's status does not get to what listens on the device for itself."""
    lies = {"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}
    pod = manifests.pod("lies", nodeSelector={"no": "where"})
    lab.apply(pod, *N)
    lab.api(
        "PATCH", f"{ROOT}/pods/lies/status", lies,
        headers={"Content-Type": "application/merge-patch+json"},
    )  # fmt: skip
    answer = asked(lab, "GET", "pods/lies:10248/proxy/healthz")
    assert (answer.status, answer.json["message"]) == (400, "address not allowed")
