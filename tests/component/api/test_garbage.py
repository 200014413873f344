"""No request, however malformed, is answered with a 5xx, and all are answered."""

from __future__ import annotations

import asyncio
import logging
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from edgeorch.lib import json
from tests.component.api import conftest

_NAMES = ["", "a", "default", "web", "..", "%2e%2e", "%ff", "%00", "%F0%9F%92%A9", "x" * 300, "~"]
_SEGMENTS = st.sampled_from(
    [
        *("api", "apis", "v1", "apps", "namespaces", "pods", "deployments", "configmaps", "events"),
        *("nodes", "services", "status", "scale", "log", "binding", "finalize", "openapi", "v2"),
        *("v3", "version", "livez", "metrics", "watch", "proxy"),
        *_NAMES,
    ]
)
_COLLECTIONS = [
    "/api/v1/namespaces", "/api/v1/nodes", "/api/v1/pods", "/api/v1/namespaces/default/pods",
    "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/services",
    "/api/v1/namespaces/default/events", "/apis/apps/v1/namespaces/default/deployments",
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
]  # fmt: skip
_PATHS = st.one_of(
    st.lists(_SEGMENTS, max_size=8).map(lambda parts: "/" + "/".join(parts)),
    st.sampled_from(_COLLECTIONS),
    st.tuples(
        st.sampled_from(_COLLECTIONS),
        st.sampled_from(["web", "default", *_NAMES]),
        st.sampled_from(["", "/status", "/scale", "/log", "/binding", "/finalize"]),
    ).map(lambda parts: f"{parts[0]}/{parts[1]}{parts[2]}"),
)
_OPTIONS = [
    "watch", "labelSelector", "fieldSelector", "limit", "continue", "resourceVersion",
    "resourceVersionMatch", "sendInitialEvents", "allowWatchBookmarks", "dryRun", "pretty",
    "fieldValidation", "fieldManager", "force", "includeObject", "gracePeriodSeconds",
    "propagationPolicy", "orphanDependents", "container", "follow", "previous", "sinceSeconds",
    "sinceTime", "tailLines", "limitBytes", "verbose", "exclude", "hash", "stream",
]  # fmt: skip
_VALUES = [
    "", "true", "0", "1", "-1", "99999999999999999999", "x", "a=b", "a in (", "metadata.name=a",
    "All", "Exact", "NotOlderThan", "Strict", "Orphan", "2026-01-01T00:00:00Z", "%ff", "%00",
    "%0d%0a", "WzEsImEiLCJiIl0", "W10", "e30", "Object", "١", "+5", "1e3",
]  # fmt: skip
_QUERIES = st.lists(st.tuples(st.sampled_from(_OPTIONS), st.sampled_from(_VALUES)), max_size=4)
_TYPES = [
    "application/json", "application/yaml", "application/merge-patch+json", "text/plain",
    "application/strategic-merge-patch+json", "application/json-patch+json", "",
    "application/apply-patch+yaml", "application/vnd.kubernetes.protobuf", "\xff;=;", "*/*",
]  # fmt: skip
_ACCEPTS = [
    "", "*/*", "application/json", "application/yaml", "text/html;q=x", ";;,,=", "\xff",
    "application/json;as=Table;g=meta.k8s.io;v=v1", "application/json;q=nan",
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", "a" * 5000,
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
]  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["metadata", "spec", "status", "data", "name", "labels", "annotations", "replicas",
                 "containers", "template", "selector", "kind", "apiVersion", "op", "path", "value",
                 "$patch", "matchLabels", "ports", "finalizers", "ownerReferences", "target",
                 "resources", "limits", "generateName", "resourceVersion", "uid", "namespace"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip
_RAW = [
    b"", b"{", b"null", b"[" * 3000, b'{"a":' * 3000, b'{"metadata":{"name":"\\ud800"}}', b"\xff",
    b'{"spec":{"replicas":' + b"9" * 5000 + b"}}", b'{"spec":{"replicas":1e999}}',
    b"a: &a [*a]", b"k8s\x00\x0a\xff", b"k8s\x00", b"{}{}", b"- a: [", b'{"a":1,"a":2}',
    b"0" * 5000, b"x: 1" + b"0" * 5000,
]  # fmt: skip


def _mutated(parts: tuple[str, Any]) -> bytes:
    """A valid object with one field exchanged for something else."""
    path, value = parts
    obj: Any = {"metadata": {"name": "web"}, **conftest.deployment("web")}
    *way, last = path.split(".")
    at = obj
    for name in way:
        at = at[int(name)] if isinstance(at, list) else at[name]
    at[last] = value
    return _encoded(obj)


def _encoded(value: Any) -> bytes:
    try:
        return json.encode(value)
    except (UnicodeEncodeError, OverflowError):
        return b"{}"


_PLACES = [
    "metadata", "metadata.name", "metadata.labels", "metadata.annotations", "spec", "kind",
    "spec.replicas", "spec.selector", "spec.selector.matchLabels", "spec.template", "apiVersion",
    "spec.template.metadata", "spec.template.spec", "spec.template.spec.containers", "status",
    "spec.template.spec.containers.0.ports", "spec.template.spec.containers.0.image",
    "spec.template.spec.containers.0.resources", "spec.template.spec.volumes", "spec.strategy",
    "metadata.finalizers", "metadata.ownerReferences", "metadata.managedFields",
]  # fmt: skip
_BODIES = st.one_of(
    st.sampled_from(_RAW),
    _JSON.map(_encoded),
    st.tuples(st.sampled_from(_PLACES), _JSON).map(_mutated),
    st.binary(max_size=60).map(lambda data: b"k8s\x00" + data),
    st.binary(max_size=60),
)
_METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])


class Wire:
    """One keep-alive connection to the unix socket, so that nothing of a client tidies up."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path

    async def answer(self, request: bytes) -> bytes:
        """All that the server says before it closes."""
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        try:
            writer.write(request)
            async with asyncio.timeout(20):
                return await reader.read()
        finally:
            writer.close()


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    found = asyncio.new_event_loop()
    yield found
    found.close()


@pytest.fixture(scope="module")
def wire(
    loop: asyncio.AbstractEventLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Wire]:
    directory = tmp_path_factory.mktemp("garbage")
    opening = conftest.started(directory)
    device = loop.run_until_complete(opening.__aenter__())
    device.logs.lines = [b"line\n"]
    yield Wire(directory / "api.sock")
    loop.run_until_complete(opening.__aexit__(None, None, None))


def _request(
    method: str, path: str, query: list[tuple[str, str]], media: str, accept: str, body: bytes
) -> bytes:
    words = "&".join(f"{name}={value.replace(' ', '+')}" for name, value in query)
    # A watch would go on for ever.
    target = f"{path}?{words}&timeoutSeconds=1" if "watch" in words else f"{path}?{words}"
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: {accept}\r\n"
        f"Content-Type: {media}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("utf-8") + body


def _check(answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    found = re.match(rb"HTTP/1\.[01] (\d\d\d) ", answer)
    assert found, answer[:200]
    # 504 says that the client knows a version of the future: no failure of the server.
    assert int(found[1]) < 500 or found[1] == b"504", answer[:2000]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@hypothesis.settings(
    max_examples=1000, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(
    method=_METHODS,
    path=_PATHS,
    query=_QUERIES,
    media=st.sampled_from(_TYPES),
    accept=st.sampled_from(_ACCEPTS),
    body=_BODIES,
)
def test_http_garbage_is_the_clients_fault(
    wire: Wire,
    loop: asyncio.AbstractEventLoop,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    query: list[tuple[str, str]],
    media: str,
    accept: str,
    body: bytes,
) -> None:
    if dict(query).get("follow"):
        query = [pair for pair in query if pair[0] != "follow"]
    answer = loop.run_until_complete(
        wire.answer(_request(method, path, query, media, accept, body))
    )
    _check(answer, caplog)


_META = {"name": "web"}
_PROBE = {"httpGet": {"port": 80, "path": "/"}, "periodSeconds": 3}
_CONTAINER = {
    "name": "main", "image": "x", "command": ["a"], "env": [{"name": "A", "value": "b"}],
    "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
    "volumeMounts": [{"name": "v", "mountPath": "/v"}], "livenessProbe": _PROBE,
    "securityContext": {"runAsUser": 1, "capabilities": {"add": ["X"]}},
    "lifecycle": {"preStop": {"exec": {"command": ["x"]}}},
}  # fmt: skip
_POD = {
    "containers": [_CONTAINER], "volumes": [{"name": "v", "configMap": {"name": "c"}}],
    "tolerations": [{"key": "a", "operator": "Exists"}], "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 1,
}  # fmt: skip
_TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": _POD}
_SPEC = {"selector": {"matchLabels": {"app": "web"}}, "template": _TEMPLATE, "replicas": 1}
_VALID: dict[str, Any] = {
    "/api/v1/namespaces/default/pods": {"metadata": _META, "spec": _POD},
    "/apis/apps/v1/namespaces/default/deployments": {"metadata": _META, "spec": _SPEC},
    "/apis/apps/v1/namespaces/default/replicasets": {"metadata": _META, "spec": _SPEC},
    "/api/v1/namespaces/default/services": {
        "metadata": _META,
        "spec": {"ports": [{"port": 80, "targetPort": "a", "name": "p"}], "type": "NodePort",
                 "selector": {"a": "b"}},
    },
    "/api/v1/namespaces/default/secrets": {"metadata": _META, "data": {"a": "YQ=="}},
    "/api/v1/namespaces/default/events": {
        "metadata": _META, "involvedObject": {"name": "a", "namespace": "default"},
        "lastTimestamp": "2026-01-01T00:00:00Z", "count": 1, "source": {"component": "x"},
    },
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices": {
        "metadata": _META, "addressType": "IPv4", "ports": [{"port": 1}],
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
    },
    "/api/v1/namespaces/default/endpoints": {
        "metadata": _META,
        "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 1}]}],
    },
    "/api/v1/nodes": {
        "metadata": _META, "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
    },
    "/api/v1/namespaces": {"metadata": _META, "spec": {"finalizers": ["a/b"]}},
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(_VALID))
async def test_what_is_spoiled_below_is_valid_before(device: conftest.Device, path: str) -> None:
    assert (await device.call("POST", path, _VALID[path]))[0] == 201


def _places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if way:
        yield way
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, (dict, list)):
            yield from _places(inner, (*way, key))
        else:
            yield (*way, key)


def _with(value: Any, way: tuple[Any, ...], new: Any) -> Any:
    if not way:
        return new
    copy = value.copy()
    copy[way[0]] = _with(copy[way[0]], way[1:], new)
    return copy


_SPOILED = st.sampled_from(sorted(_VALID)).flatmap(
    lambda path: st.tuples(
        st.just(path), st.sampled_from(list(_places(_VALID[path]))), _JSON, st.booleans()
    )
)


@hypothesis.settings(
    max_examples=300, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(_SPOILED)
def test_an_object_with_a_spoiled_field_is_refused_or_can_be_lived_with(
    wire: Wire,
    loop: asyncio.AbstractEventLoop,
    caplog: pytest.LogCaptureFixture,
    spoiled: tuple[str, tuple[Any, ...], Any, bool],
) -> None:
    path, way, value, as_patch = spoiled
    obj = _VALID[path]
    name, media, table = f"{path}/web", "application/json", _ACCEPTS[7]
    bad = _encoded(_with(obj, way, value))
    steps = [("POST", path, bad), ("PUT", name, bad), ("PUT", f"{name}/status", bad)]
    if as_patch:
        media = "application/strategic-merge-patch+json"
        steps = [("PATCH", name, bad), ("PATCH", f"{name}/status", bad)]
        valid = _request("POST", path, [], "application/json", "*/*", _encoded(obj))
        _check(loop.run_until_complete(wire.answer(valid)), caplog)
    steps += [("GET", name, b""), ("GET", path, b""), ("GET", f"{name}/scale", b"")]
    steps += [("GET", f"{name}/log", b""), ("DELETE", name, b'{"gracePeriodSeconds":0}')]
    for method, where, body in steps:
        accept = table if method == "GET" else "*/*"
        kind = "application/json" if method == "DELETE" else media
        answer = loop.run_until_complete(
            wire.answer(_request(method, where, [], kind, accept, body))
        )
        _check(answer, caplog)


@pytest.mark.parametrize("body", _RAW, ids=lambda body: repr(body[:20]))
@pytest.mark.parametrize("media", _TYPES)
def test_every_writer_refuses_every_malformed_body(
    wire: Wire,
    loop: asyncio.AbstractEventLoop,
    caplog: pytest.LogCaptureFixture,
    media: str,
    body: bytes,
) -> None:
    maps = "/api/v1/namespaces/default/configmaps"
    for method, path in (
        ("POST", maps),
        ("PUT", "/api/v1/namespaces/default"),
        ("PATCH", "/api/v1/namespaces/default"),
        ("PATCH", "/apis/apps/v1/namespaces/default/deployments/web/scale"),
        ("DELETE", f"{maps}/none"),
    ):
        request = _request(method, path, [], media, "*/*", body)
        _check(loop.run_until_complete(wire.answer(request)), caplog)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET //[::1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST /api/v1/namespaces HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        (b"POST /api/v1/namespaces HTTP/1.1\r\nConnection: close\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: 4\r\n\r\nnope"),
        (b"POST /api/v1/namespaces HTTP/1.1\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        (b"GET /api/v1/pods HTTP/1.1\r\nConnection: close\r\nUpgrade: websocket\r\n"
        b"Connection: upgrade\r\n\r\n"),
    ],
)  # fmt: skip
def test_what_is_no_http_is_refused(
    wire: Wire, loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture, raw: bytes
) -> None:
    _check(loop.run_until_complete(wire.answer(raw)), caplog)


def test_an_unknown_method_and_what_is_no_http_are_told_as_a_status(
    wire: Wire, loop: asyncio.AbstractEventLoop
) -> None:
    for raw, code, reason in (
        (b"BREW /api/v1/pods HTTP/1.1\r\nHost: x\r\n\r\n", 405, "MethodNotAllowed"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "BadRequest"),
    ):
        head, _, body = loop.run_until_complete(wire.answer(raw)).partition(b"\r\n\r\n")
        told = json.decode(body)
        assert int(head.split()[1]) == told["code"] == code
        assert (told["kind"], told["reason"]) == ("Status", reason)
