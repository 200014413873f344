"""Whatever comes in, what goes out is a clear Status or pod state: no 5xx, no traceback."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.lablib import kernel

from . import clients, manifests
from . import lab as labs

V1 = "/api/v1/namespaces/default"
APPS = "/apis/apps/v1/namespaces/default"


@pytest.fixture(autouse=True)
def calm(lab: labs.Lab) -> Iterator[None]:
    """The same process goes on, and has complained of nothing."""
    pid_file, begin = lab.device.pid_file("edgeorch"), len(lab.log())
    pid = kernel.read_pid(pid_file)
    yield
    told = lab.log()[begin:]
    assert kernel.read_pid(pid_file) == pid
    assert "Traceback" not in told, told
    assert " ERROR " not in told, told


def status(answer: clients.Answer, code: int, reason: str) -> str:
    """The message of a metav1.Status."""
    assert answer.status == code, answer
    found = answer.json
    assert (found["kind"], found["apiVersion"], found["status"]) == ("Status", "v1", "Failure")
    assert (found["code"], found.get("reason", "")) == (code, reason), found
    assert found["message"]
    return str(found["message"])


def config_map(name: Any = "x", **fields: Any) -> labs.Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


# --- what cannot be read ----------------------------------------------------------------------

LAUGHS = b"a0: &a0 [x]\n" + b"".join(
    b"a%d: &a%d [%b]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 12)
)
YAML = {"Content-Type": "application/yaml"}


@pytest.mark.parametrize(
    ("body", "headers", "code", "reason"),
    [
        pytest.param(b"{", {}, 400, "BadRequest", id="half of JSON"),
        pytest.param(b"", {}, 400, "BadRequest", id="nothing"),
        pytest.param(b"[]", {}, 400, "BadRequest", id="a list"),
        pytest.param(b"7", {}, 400, "BadRequest", id="a number"),
        pytest.param(b"\xff\xfe\x00", {}, 400, "BadRequest", id="no UTF-8"),
        pytest.param(b"[" * 100_000, {}, 400, "BadRequest", id="nested too deep"),
        pytest.param(b'{"a":' * 50_000, {}, 400, "BadRequest", id="objects too deep"),
        pytest.param(b"a: [b", YAML, 400, "BadRequest", id="malformed YAML"),
        pytest.param(b"a: b: c", YAML, 400, "BadRequest", id="YAML that is none"),
        pytest.param(b"\tkind: x", YAML, 400, "BadRequest", id="YAML with a tab"),
        pytest.param(LAUGHS, YAML, 400, "BadRequest", id="a billion laughs"),
        pytest.param(b"!!python/object:os.system x", YAML, 400, "BadRequest", id="a YAML tag"),
        pytest.param(b"{}", {"Content-Type": "text/html"}, 415, "UnsupportedMediaType", id="html"),
        pytest.param(b"k8s\0garbage", {"Content-Type": "application/vnd.kubernetes.protobuf"},
                     400, "BadRequest", id="broken protobuf"),
        pytest.param(b'{"kind":"Pod","apiVersion":"v1"}', {}, 400, "BadRequest", id="other kind"),
        pytest.param(b'{"kind":"ConfigMap","apiVersion":"v2"}', {}, 400, "BadRequest",
                     id="other version"),
    ],
)  # fmt: skip
def test_unreadable_bodies(
    lab: labs.Lab, body: bytes, headers: dict[str, str], code: int, reason: str
) -> None:
    status(lab.api("POST", f"{V1}/configmaps", body, headers=headers), code, reason)


def test_a_body_of_50_mb(lab: labs.Lab) -> None:
    body = json.dumps(config_map(data={"a": "x" * 50_000_000})).encode()
    said = status(lab.api("POST", f"{V1}/configmaps", body), 413, "RequestEntityTooLarge")
    assert "limit" in said or "too large" in said
    # And with kubectl, which reads it as an error, not as a lost connection.
    told = lab.try_kubectl("create", "-f", "-", stdin=body.decode())
    assert told.returncode == 1
    assert "too large" in told.stderr.lower() or "limit" in told.stderr.lower(), told.stderr


def test_a_config_map_of_more_than_a_mebibyte(lab: labs.Lab) -> None:
    big = config_map(data={"a": "x" * (1024 * 1024 + 1)})
    said = status(lab.api("POST", f"{V1}/configmaps", big), 422, "Invalid")
    assert "Too long" in said


# --- wrong contents -----------------------------------------------------------------------------


def _pod(**fields: Any) -> labs.Object:
    return manifests.pod("bad", manifests.container(), **fields)


def _deployment(**fields: Any) -> labs.Object:
    return manifests.deployment("bad", **fields)


def _named(name: Any) -> labs.Object:
    return config_map(name)


def _image(name: str) -> labs.Object:
    return manifests.pod("bad", {"name": "main", "image": name})


@pytest.mark.parametrize(
    ("url", "body", "code", "words"),
    [
        (f"{APPS}/deployments", _deployment(replicas=-1), 422,
         "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        (f"{APPS}/deployments", _deployment(selector={"matchLabels": {"a": "b"}}), 422,
         "`selector` does not match template `labels`"),
        (f"{APPS}/deployments", _deployment(selector=None), 422, "spec.selector: Required value"),
        (f"{APPS}/deployments", _deployment(replicas="three"), 400,
         "cannot unmarshal string into Go struct field"),
        (f"{APPS}/deployments", _deployment(template="x"), 400, "cannot unmarshal string"),
        (f"{V1}/pods", _pod(containers="x"), 400, "cannot unmarshal string"),
        (f"{V1}/pods", _pod(containers=[]), 422, "spec.containers: Required value"),
        (f"{V1}/pods", _pod(containers=[None]), 422, "spec.containers[0].name: Required value"),
        (f"{V1}/pods", _pod(restartPolicy="Sometimes"), 422,
         'spec.restartPolicy: Unsupported value: "Sometimes"'),
        (f"{V1}/pods", _pod(volumes=[{"name": "v"}, {"name": "v"}]), 422,
         'spec.volumes[1].name: Duplicate value: "v"'),
        (f"{V1}/pods", _image(""), 422, "spec.containers[0].image: Required value"),
        (f"{V1}/pods", _image(" nginx"), 422, "must not have leading or trailing whitespace"),
        (f"{V1}/pods", manifests.pod("bad", manifests.container(
            resources={"limits": {"memory": "lots"}})), 400, "quantities must match"),
        (f"{V1}/pods", manifests.pod("bad", manifests.container(
            resources={"limits": {"memory": "1Mi"}, "requests": {"memory": "2Mi"}})), 422,
         "must be less than or equal to memory limit"),
        (f"{V1}/configmaps", _named("Über"), 422, "a lowercase RFC 1123 subdomain must consist"),
        (f"{V1}/configmaps", _named(""), 422, "name or generateName is required"),
        (f"{V1}/configmaps", _named("x" * 254), 422, "must be no more than 253"),
        (f"{V1}/configmaps", _named("../../etc/passwd"), 422, "metadata.name: Invalid value"),
        (f"{V1}/configmaps", _named(7), 400, "cannot unmarshal number"),
        (f"{V1}/configmaps", config_map(data=[1]), 400, "cannot unmarshal array"),
        (f"{V1}/configmaps", config_map(data={"a/b": "x"}), 422, 'data[a/b]: Invalid value'),
        (f"{V1}/secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
                           "data": {"a": "!!"}}, 400, "illegal base64"),
        (f"{V1}/services", manifests.service("bad", "Sideways"), 422,
         'spec.type: Unsupported value: "Sideways"'),
        (f"{V1}/services", manifests.service("bad", port=70000), 422,
         "must be between 1 and 65535"),
        (f"{V1}/services", manifests.service("bad", clusterIP="8.8.8.8"), 422,
         "is not in the valid range"),
        ("/api/v1/namespaces/nowhere/configmaps", config_map(), 404,
         'namespaces "nowhere" not found'),
        (f"{V1}/configmaps", {**config_map(), "metadata": {"name": "x", "namespace": "other"}},
         400, "the namespace of the provided object does not match the namespace sent"),
    ],
)  # fmt: skip
def test_wrong_contents(lab: labs.Lab, url: str, body: labs.Object, code: int, words: str) -> None:
    reason = {400: "BadRequest", 422: "Invalid", 404: "NotFound"}[code]
    assert words in status(lab.api("POST", url, body), code, reason)


@pytest.mark.parametrize("version", labs.kubectl_ends())
def test_kubectl_tells_what_is_wrong(lab: labs.Lab, version: str) -> None:
    def told(manifest: str | labs.Object, *arguments: str) -> str:
        result = lab.try_kubectl("apply", "-f", "-", *arguments, stdin=manifest, version=version)
        assert result.returncode == 1, result.stdout
        return result.stderr

    assert "error converting YAML to JSON" in told("kind: Pod\n  a: b")
    assert 'no matches for kind "Sprocket"' in told(
        "apiVersion: v9\nkind: Sprocket\nmetadata: {name: x}"
    )
    assert 'no matches for kind "Pod" in version "v9"' in told(
        "apiVersion: v9\nkind: Pod\nmetadata: {name: x}"
    )
    negative = told(_deployment(replicas=-1))
    assert 'The Deployment "bad" is invalid: spec.replicas: Invalid value: -1' in negative
    slip = _deployment()
    slip["spec"]["replcas"] = 1
    if version == "1.20":  # looks at fields by itself, and knows no --validate=warn
        assert 'unknown field "replcas"' in told(slip)
        return
    assert 'unknown field "spec.replcas"' in told(slip)
    accepted = lab.try_kubectl("create", "-f", "-", "--validate=warn", stdin=slip, version=version)
    assert accepted.returncode == 0, accepted.stderr
    assert 'unknown field "spec.replcas"' in accepted.stderr
    lab.kubectl("delete", "deploy", "bad")
    ignored = lab.try_kubectl("create", "-f", "-", "--validate=ignore", stdin=slip, version=version)
    assert (ignored.returncode, ignored.stderr) == (0, "")
    lab.kubectl("delete", "deploy", "bad")


def test_field_validation_is_strict_warns_or_ignores(lab: labs.Lab) -> None:
    body = config_map(sprocket=1)
    url = f"{V1}/configmaps?dryRun=All&fieldValidation="
    said = status(lab.api("POST", url + "Strict", body), 400, "BadRequest")
    assert 'strict decoding error: unknown field "sprocket"' in said
    warned = lab.api("POST", url + "Warn", body)
    assert warned.status == 201
    assert warned.headers["Warning"] == '299 - "unknown field \\"sprocket\\""'
    assert "Warning" not in lab.api("POST", url + "Ignore", body).headers
    assert lab.api("POST", url + "Maybe", body).status in (400, 422)


# --- wrong requests -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "url", "code", "reason"),
    [
        ("GET", "/api/v1/sprockets", 404, "NotFound"),
        ("GET", "/apis/no.such/v1/things", 404, "NotFound"),
        ("GET", "/nowhere", 404, "NotFound"),
        ("GET", f"{V1}/pods/nope", 404, "NotFound"),
        ("GET", f"{V1}/pods/%00", 404, "NotFound"),
        ("GET", f"{V1}/pods/..%2f..%2fetc", 404, "NotFound"),
        ("GET", f"{V1}/pods/nope/log", 404, "NotFound"),
        ("GET", f"{V1}/pods?labelSelector=a%20in%20(", 400, "BadRequest"),
        ("GET", f"{V1}/pods?labelSelector=%3D%3D", 400, "BadRequest"),
        ("GET", f"{V1}/pods?fieldSelector=spec.nonsense%3D1", 400, "BadRequest"),
        ("GET", f"{V1}/pods?limit=x", 400, "BadRequest"),
        ("GET", f"{V1}/pods?watch=1&resourceVersion=x", 400, "BadRequest"),
        ("GET", f"{V1}/pods?continue=%3F%3F", 400, "BadRequest"),
        ("DELETE", f"{V1}/pods/nope", 404, "NotFound"),
        ("DELETE", "/api/v1/nodes/nope", 404, "NotFound"),
        ("POST", f"{V1}/pods/nope", 405, "MethodNotAllowed"),
        ("PUT", f"{V1}/pods", 405, "MethodNotAllowed"),
    ],
)
def test_wrong_requests(lab: labs.Lab, method: str, url: str, code: int, reason: str) -> None:
    status(lab.api(method, url), code, reason)


@pytest.mark.parametrize(
    ("kind", "patch", "code"),
    [
        ("application/json-patch+json", b"[", 400),
        ("application/json-patch+json", b"{}", 400),
        ("application/json-patch+json", b'[{"op":"explode","path":"/data"}]', 422),
        ("application/json-patch+json", b'[{"op":"remove","path":"/data/nope"}]', 422),
        ("application/json-patch+json", b'[{"op":"test","path":"/data/a","value":"z"}]', 422),
        ("application/merge-patch+json", b"{", 400),
        ("application/merge-patch+json", b"[]", 400),
        ("application/merge-patch+json", b'{"data":7}', 422),
        ("application/merge-patch+json", b'{"metadata":{"name":"other"}}', 400),
        ("application/merge-patch+json", b'{"metadata":{"uid":"other"}}', 409),
        ("application/merge-patch+json", b'{"metadata":{"resourceVersion":"1"}}', 409),
        ("application/strategic-merge-patch+json", b'{"data":{"$patch":"explode"}}', 400),
        ("application/strategic-merge-patch+json", b'{"data":"x"}', 422),
        ("application/whatever", b"{}", 415),
    ],
)  # fmt: skip
def test_wrong_patches(lab: labs.Lab, kind: str, patch: bytes, code: int) -> None:
    lab.api("POST", f"{V1}/configmaps", config_map("patched", data={"a": "b"}))
    answer = lab.api("PATCH", f"{V1}/configmaps/patched", patch, headers={"Content-Type": kind})
    assert answer.status == code, answer
    assert answer.json["kind"] == "Status"
    assert lab.get("configmap/patched")["data"] == {"a": "b"}


def test_bad_tokens(lab: labs.Lab) -> None:
    def asked(headers: dict[str, str], url: str = "/api/v1/pods") -> clients.Answer:
        return clients.in_netns(
            lab.device.netns, lambda: clients.over_tls(6443, "GET", url, headers=headers)
        )

    assert asked({"Authorization": f"Bearer {lab.token}"}).status == 200
    for header in ("Bearer wrong", f"Bearer {lab.token}x", "Bearer ", "Basic YTpi", "nonsense"):
        said = status(asked({"Authorization": header}), 401, "Unauthorized")
        assert said == "Unauthorized"
    assert asked({}).status in (401, 403)
    told = lab.try_kubectl("get", "pods", "--token=wrong")
    assert told.returncode == 1
    assert "Unauthorized" in told.stderr or "provide credentials" in told.stderr


def test_bytes_that_are_not_http(lab: labs.Lab) -> None:
    def rubbish() -> None:
        for payload in (b"\x00" * 1000, b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\xff\xff"):
            with socket.create_connection(("127.0.0.1", 6443), 5) as connection:
                connection.sendall(payload)
                connection.shutdown(socket.SHUT_WR)
                try:
                    while connection.recv(1000):
                        pass
                except ConnectionResetError:
                    pass

    clients.in_netns(lab.device.netns, rubbish)
    assert lab.health("/readyz").status == 200


# --- images that are not there ------------------------------------------------------------------


def waiting(lab: labs.Lab, namespace: str, name: str) -> labs.Object:
    answer = lab.api("GET", f"/api/v1/namespaces/{namespace}/pods/{name}").json
    for found in answer["status"].get("containerStatuses", []):
        return dict(found["state"].get("waiting", {}))
    return {}


def test_absent_images(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    with lab.background("get", "pods", "-w", "--no-headers", *n) as watch:
        lab.apply(manifests.pod("absent", {"name": "main", "image": "nginx:no-such"}), *n)
        watch.until("absent .*ErrImagePull", 120)
        watch.until("absent .*ImagePullBackOff", 120)
    found = waiting(lab, namespace, "absent")
    if found["reason"] == "ImagePullBackOff":
        assert found["message"].startswith('Back-off pulling image "nginx:no-such"')
    events = {(e["reason"], e["type"]) for e in lab.items("events", *n)}
    assert events >= {("Pulling", "Normal"), ("Failed", "Warning"), ("BackOff", "Normal")}
    pod = lab.get("pod/absent", *n)
    assert pod["status"]["phase"] == "Pending"
    # And a pod in that state goes when it is told to.
    lab.kubectl("delete", "pod", "absent", "--timeout=30s", *n)


def test_an_image_that_may_not_be_pulled(lab: labs.Lab, namespace: str) -> None:
    container = {"name": "main", "image": "nginx:no-such", "imagePullPolicy": "Never"}
    lab.apply(manifests.pod("never", container), "-n", namespace)
    labs.until(
        lambda: waiting(lab, namespace, "never").get("reason") == "ErrImageNeverPull", "the reason"
    )


@pytest.mark.parametrize("image", ["UPPER/Case", "nginx:", "a b", "nginx@sha256:12", "http://x/y"])
def test_invalid_image_names(lab: labs.Lab, namespace: str, image: str) -> None:
    lab.apply(manifests.pod("bad", {"name": "main", "image": image}), "-n", namespace)
    labs.until(
        lambda: waiting(lab, namespace, "bad").get("reason") == "InvalidImageName", "the reason"
    )


def test_commands_that_are_not_there(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    container = {"name": "main", "image": "busybox", "command": ["/no/such/program"]}
    lab.apply(manifests.pod("lost", container, restartPolicy="Never"), *n)
    lab.wait("pod/lost", "jsonpath={.status.phase}=Failed", *n)
    ended = lab.get("pod/lost", *n)["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert "no such file or directory" in ended["message"]


@pytest.mark.parametrize(
    ("container", "reason", "words"),
    [
        ({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "a"}}}]},
         "CreateContainerConfigError", 'configmap "no" not found'),
        ({"envFrom": [{"secretRef": {"name": "no"}}]},
         "CreateContainerConfigError", 'secret "no" not found'),
    ],
    ids=["configMapKeyRef", "secretRef"],
)  # fmt: skip
def test_references_that_lead_nowhere(
    lab: labs.Lab, namespace: str, container: labs.Object, reason: str, words: str
) -> None:
    n = ("-n", namespace)
    lab.apply(manifests.pod("waits", manifests.container(**container)), *n)
    labs.until(lambda: waiting(lab, namespace, "waits").get("reason") == reason, reason)
    assert words in waiting(lab, namespace, "waits")["message"]
    # It starts as soon as the thing is there.
    lab.kubectl("create", "configmap", "no", "--from-literal=a=b", *n)
    lab.kubectl("create", "secret", "generic", "no", "--from-literal=a=b", *n)
    lab.wait("pod/waits", "condition=Ready", *n)
