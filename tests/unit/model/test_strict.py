"""Bodies are checked, worded and normalised as kube-apiserver does it."""

from __future__ import annotations

import json as stdjson
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from edgeorch.lib import json, quantity
from edgeorch.model import errors, kinds, schema, strict

TABLE = schema.load()
SO = 'Deployment in version "v1" cannot be handled as a Deployment: '


def conform(obj: Any, kind: kinds.Kind = kinds.DEPLOYMENT) -> tuple[Any, list[str]]:
    return strict.conform(TABLE, kind, obj)


def refused(obj: Any, kind: kinds.Kind = kinds.DEPLOYMENT) -> str:
    with pytest.raises(errors.StatusError) as caught:
        conform(obj, kind)
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    return caught.value.message


def deployment(container: Any) -> Any:
    return {"spec": {"template": {"spec": {"containers": [container]}}}}


def test_unknown_fields_are_told_with_their_path_and_dropped() -> None:
    obj = {
        "spec": {"replica": 1, "template": {"spec": {"containers": [{"nam": 1, "name": "a"}]}}},
        "Spec": {},
    }
    checked, findings = conform(obj)
    assert findings == [
        'unknown field "spec.replica"',
        'unknown field "spec.template.spec.containers[0].nam"',
        'unknown field "Spec"',
    ]
    assert checked == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": {"template": {"spec": {"containers": [{"name": "a"}]}}},
    }
    assert strict.refused(kinds.DEPLOYMENT, findings[:2]).message == (
        SO + 'strict decoding error: unknown field "spec.replica", '
        'unknown field "spec.template.spec.containers[0].nam"'
    )


# What was given, what Go calls it, the struct and field it names, the type it wants.
POD = "spec.template.spec"
MISMATCHES: list[tuple[Any, str, str, str]] = [
    ({"spec": {"replicas": "1"}}, "string", "DeploymentSpec.spec.replicas", "int32"),
    ({"spec": {"replicas": 1.5}}, "number 1.5", "DeploymentSpec.spec.replicas", "int32"),
    (
        {"spec": {"replicas": 1 << 40}},
        "number 1099511627776",
        "DeploymentSpec.spec.replicas",
        "int32",
    ),
    ({"spec": {"paused": "yes"}}, "string", "DeploymentSpec.spec.paused", "bool"),
    ({"spec": []}, "array", "Deployment.spec", "v1.DeploymentSpec"),
    ({"metadata": {"labels": {"a": 1}}}, "number", "ObjectMeta.metadata.labels", "string"),
    ({"metadata": {"labels": "a"}}, "string", "ObjectMeta.metadata.labels", "map[string]string"),
    ({"metadata": {"name": True}}, "bool", "ObjectMeta.metadata.name", "string"),
    (
        {"metadata": {"creationTimestamp": 5}},
        "number",
        "ObjectMeta.metadata.creationTimestamp",
        "string",
    ),
    (deployment("x"), "string", f"PodSpec.{POD}.containers", "v1.Container"),
    (deployment({"env": [{"value": 1}]}), "number", f"EnvVar.{POD}.containers.env.value", "string"),
    (deployment({"command": "sh"}), "string", f"Container.{POD}.containers.command", "[]string"),
    (
        deployment({"ports": [{"containerPort": {}}]}),
        "object",
        f"ContainerPort.{POD}.containers.ports.containerPort",
        "int32",
    ),
    (
        deployment({"livenessProbe": {"httpGet": {"port": []}}}),
        "array",
        f"HTTPGetAction.{POD}.containers.livenessProbe.httpGet.port",
        "int32",
    ),
]


@pytest.mark.parametrize(
    ("obj", "given_as", "field", "wanted"), MISMATCHES, ids=[row[2] for row in MISMATCHES]
)
def test_wrong_types_read_as_go_tells_them(
    obj: Any, given_as: str, field: str, wanted: str
) -> None:
    told = f"json: cannot unmarshal {given_as} into Go struct field {field} of type {wanted}"
    assert refused(obj) == SO + told


CREATED = "metadata.creationTimestamp"


@pytest.mark.parametrize(
    ("obj", "field", "told"),
    [
        (
            deployment({"resources": {"limits": {"cpu": "lots"}}}),
            "spec.template.spec.containers[0].resources.limits.cpu",
            quantity.WRONG_FORMAT,
        ),
        (
            {"metadata": {"creationTimestamp": "soon"}},
            CREATED,
            'parsing time "soon" as "2006-01-02T15:04:05Z07:00": cannot parse "soon" as "2006"',
        ),
        (
            {"metadata": {"creationTimestamp": "2024-13-01T00:00:00Z"}},
            CREATED,
            'parsing time "2024-13-01T00:00:00Z": month out of range',
        ),
        (
            {"metadata": {"creationTimestamp": "2024-02-30T00:00:00Z"}},
            CREATED,
            'parsing time "2024-02-30T00:00:00Z": day out of range',
        ),
    ],
)
def test_special_types_tell_their_own_errors_after_the_field(
    obj: Any, field: str, told: str
) -> None:
    assert refused(obj) == f"{SO}{field}: {told}"


@pytest.mark.parametrize(
    ("text", "at"), [("!!", 0), ("YQ=", 3), ("YWI", 0), ("YWJj!", 4), ("YQ==x", 4), ("YQ=x", 2)]
)
def test_bad_base64_names_the_byte(text: str, at: int) -> None:
    told = refused({"data": {"a": text}}, kinds.SECRET)
    assert told.endswith(f"data.a: illegal base64 data at input byte {at}")


def test_values_take_their_canonical_form() -> None:
    limits = {"cpu": 0.5, "memory": "1024Mi", "pods": 3}
    obj = {
        "metadata": {
            "name": "a",
            "creationTimestamp": "2024-01-01T02:00:00.5+02:00",
            "labels": {},
            "annotations": {"a": None},
        },
        "spec": {
            "containers": [{"name": "a", "resources": {"limits": limits}, "args": []}, None],
            "nodeName": None,
            "volumes": None,
            "securityContext": {},
        },
    }
    checked, findings = conform(obj, kinds.POD)
    assert findings == []
    assert checked["metadata"] == {
        "name": "a",
        "creationTimestamp": "2024-01-01T00:00:00Z",
        "annotations": {"a": ""},
    }
    assert checked["spec"] == {
        "containers": [
            {"name": "a", "resources": {"limits": {"cpu": "500m", "memory": "1Gi", "pods": "3"}}},
            {},
        ],
        "securityContext": {},
    }


def test_the_input_is_left_alone() -> None:
    obj = deployment({"name": "a", "foo": 1, "resources": {"limits": {"cpu": "0.5"}}})
    before = json.encode(obj)
    conform(obj)
    assert json.encode(obj) == before


@pytest.mark.parametrize(
    ("obj", "told"),
    [
        ({"kind": "Pod", "apiVersion": "v1"}, SO.replace("Deployment in", "Pod in") + "converting"),
        ({"kind": "Foo"}, 'Foo in version "v1" cannot be handled as a Deployment: no kind "Foo"'),
        (
            {"apiVersion": "v2"},
            "the API version in the data (v2) does not match the expected API version (apps/v1)",
        ),
    ],
)
def test_another_kind_or_version_is_refused(obj: Any, told: str) -> None:
    assert refused(obj).startswith(told)


def parse_refused(body: bytes, media_type: str = "application/json") -> str:
    with pytest.raises(errors.StatusError) as caught:
        strict.parse(body, media_type, "Deployment")
    assert caught.value.code == 400
    return caught.value.message


MUST_BE = "the object provided is unrecognized (must be of type Deployment): "


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "unexpected end of JSON input (<empty>)"),
        (b'{"a":1', 'unexpected end of JSON input ({"a":1)'),
        (
            b'{"kind":1}',
            'json: cannot unmarshal number into Go struct field .kind of type string ({"kind":1})',
        ),
        (b"\xff\xfe", "invalid character 'ÿ' looking for beginning of value (fffe)"),
    ],
    ids=["empty", "cut", "kind", "binary"],
)
def test_malformed_json(body: bytes, told: str) -> None:
    assert parse_refused(body) == f"{MUST_BE}couldn't get version/kind; json parse error: {told}"


def test_a_malformed_api_version() -> None:
    told = 'unexpected GroupVersion string: a/b/c ({"apiVersion":"a/b/c"})'
    assert parse_refused(b'{"apiVersion":"a/b/c"}') == MUST_BE + told


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"5", b"true"])
def test_a_body_that_is_no_object(body: bytes) -> None:
    told = parse_refused(body)
    assert told.startswith(MUST_BE + "couldn't get version/kind; json parse error: json: cannot")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting_is_refused(opening: bytes) -> None:
    closing = {b"[": b"]", b'{"a":': b"}"}[opening]
    for depth in (300, 100_000):
        body = b'{"a":' + opening * depth + b"1" + closing * depth + b"}"
        assert "exceeded max depth" in parse_refused(body)


def test_malformed_yaml_names_the_line() -> None:
    told = parse_refused(b"a: 1\n b: 2\n", "application/yaml")
    assert told == MUST_BE + (
        "yaml: line 2: mapping values are not allowed in this context (613a20310a20623a20320a)"
    )


def test_duplicate_fields_are_found() -> None:
    body = b'{"a":1,"b":[{"c":1,"c":2}],"a":3,"a":4,"d":{"e/f":{"g":1,"g":1}}}'
    obj, findings = strict.parse(body, "application/json")
    assert obj == {"a": 4, "b": [{"c": 2}], "d": {"e/f": {"g": 1}}}
    assert findings == [
        'duplicate field "a"',
        'duplicate field "b[0].c"',
        'duplicate field "d.e/f.g"',
    ]
    _, findings = strict.parse(b"a: 1\na: 2\n", "application/yaml")
    assert findings == ['yaml: unmarshal errors:\n  line 2: key "a" already set in map']


def test_patch_results_are_refused_as_invalid() -> None:
    with pytest.raises(errors.StatusError) as caught:
        strict.conform_patched(TABLE, kinds.DEPLOYMENT, {"spec": {"replicas": "x"}}, "{}")
    status = caught.value.status()
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert status["details"]["causes"][0]["field"] == "patch"
    assert (
        "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas"
        in (status["message"])
    )


NAMES = st.sampled_from(
    ["metadata", "spec", "status", "name", "labels", "containers", "template", "replicas", "env",
     "ports", "resources", "limits", "cpu", "selector", "matchLabels", "conditions", "foo"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_anything_is_conformed_or_refused_and_conforming_is_stable(obj: Any) -> None:
    try:
        checked, _ = conform(obj)
    except errors.StatusError as error:
        event(str(error.code))
        return
    assert conform(checked) == (checked, [])


@given(st.binary(max_size=40))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    for media_type in ("application/json", "application/yaml"):
        try:
            obj, _ = strict.parse(body, media_type)
        except errors.StatusError as error:
            event(str(error.code))
        else:
            stdjson.dumps(obj)
