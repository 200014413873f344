"""Selector texts mean what they mean to Kubernetes, and errors read as there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.model import errors, kinds, selectors
from edgeorch.model.selectors import Requirement


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        pytest.param("", {}, True, id="everything"),
        pytest.param("a=b", {"a": "b"}, True, id="equal"),
        pytest.param("a==b", {"a": "c"}, False, id="double equal"),
        pytest.param("a=", {"a": ""}, True, id="empty value"),
        pytest.param("a!=b", {}, True, id="not equal without the label"),
        pytest.param("a!=b", {"a": "b"}, False, id="not equal"),
        pytest.param("a in (x,y)", {"a": "y"}, True, id="in"),
        pytest.param("a in (x,y)", {}, False, id="in without the label"),
        pytest.param("a notin (x,y)", {}, True, id="notin without the label"),
        pytest.param("a in (,x)", {"a": ""}, True, id="in with the empty value"),
        pytest.param("a notin ()", {"a": ""}, False, id="notin with nothing"),
        pytest.param("a", {"a": ""}, True, id="exists"),
        pytest.param("!a", {"a": "x"}, False, id="does not exist"),
        pytest.param("a>2", {"a": "10"}, True, id="greater"),
        pytest.param("a<2", {"a": "ten"}, False, id="less with text"),
        pytest.param(" a = b , !c ,d in ( e , f ) ", {"a": "b", "d": "f"}, True, id="blanks"),
        pytest.param("in in (in,notin)", {"in": "notin"}, True, id="words as names"),
        pytest.param("example.com/a=b", {"example.com/a": "b"}, True, id="prefixed key"),
    ],
)
def test_label_selector_text(text: str, labels: dict[str, str], expected: bool) -> None:
    assert selectors.labels(text)({"metadata": {"labels": labels}}) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "a b",
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            id="no operator",
        ),
        pytest.param(
            "a in x", "unable to parse requirement: found 'x' expected: '('", id="no bracket"
        ),
        pytest.param(
            "a in (x",
            "unable to parse requirement: found '', expected: ',' or ')'",
            id="open bracket",
        ),
        pytest.param(",a", "found ',', expected: !, identifier, or 'end of string'", id="comma"),
        pytest.param("a,", "found '', expected: identifier after ','", id="comma at the end"),
        pytest.param("!a=b", "found '=', expected: ',' or 'end of string'", id="not and equal"),
        pytest.param(
            "!", "unable to parse requirement: found '', expected: identifier", id="only not"
        ),
        pytest.param(
            "a=(", "unable to parse requirement: found '(', expected: identifier", id="no value"
        ),
        pytest.param(
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt'"
            " operators, the value must be an integer",
            id="no number",
        ),
        pytest.param(
            "a=b!",
            "found '!', expected: ',' or 'end of string'",
            id="symbol after value",
        ),
        pytest.param(
            "a=é",
            'unable to parse requirement: values[0][a]: Invalid value: "é": a valid label must be'
            " an empty string or consist of alphanumeric characters, '-', '_' or '.', and must"
            " start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or"
            " '12345', regex used for validation is"
            " '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            id="value",
        ),
        pytest.param(
            "/a=b",
            'unable to parse requirement: <nil>: Invalid value: "/a": prefix part must be'
            " non-empty",
            id="key",
        ),
    ],
)
def test_label_selector_error(text: str, message: str) -> None:
    with pytest.raises(errors.StatusError) as caught:
        selectors.labels(text)
    assert (caught.value.code, caught.value.message) == (400, message)


_NAMES = st.from_regex(r"[A-Za-z0-9]([-_.A-Za-z0-9]{0,8}[A-Za-z0-9])?", fullmatch=True)
_VALUES = st.one_of(st.just(""), _NAMES)
_ONE = st.builds(lambda value: (value,), _VALUES)
_MANY = st.sets(_VALUES, min_size=1, max_size=3).map(lambda found: tuple(sorted(found)))
_NUMBER = st.integers(-(10**6), 10**6).map(lambda number: (str(number).lstrip("-"),))
_REQUIREMENT = st.one_of(
    st.builds(Requirement, _NAMES, st.sampled_from(["exists", "!"])),
    st.builds(Requirement, _NAMES, st.sampled_from(["=", "==", "!="]), _ONE),
    st.builds(Requirement, _NAMES, st.sampled_from(["in", "notin"]), _MANY),
    st.builds(Requirement, _NAMES, st.sampled_from(["gt", "lt"]), _NUMBER),
)


@given(st.lists(_REQUIREMENT, max_size=4))
def test_what_is_written_is_read_back(requirements: list[Requirement]) -> None:
    ordered = tuple(sorted(requirements, key=lambda requirement: requirement.key))
    assert selectors.parse_labels(selectors.format_labels(ordered)) == ordered


@given(st.text(alphabet="ab=!(),<> inot", max_size=12))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        found = selectors.parse_labels(text)
    except errors.StatusError:
        return
    assert selectors.parse_labels(selectors.format_labels(found)) == found


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        pytest.param(None, {}, False, id="none selects nothing"),
        pytest.param({}, {}, True, id="empty selects everything"),
        pytest.param({"matchLabels": {"a": "b"}}, {"a": "b", "c": "d"}, True, id="labels"),
        pytest.param(
            {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]},
            {"a": "b"},
            False,
            id="not in",
        ),
        pytest.param(
            {"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]},
            {},
            True,
            id="does not exist",
        ),
    ],
)
def test_label_selector_object(selector: Any, labels: dict[str, str], expected: bool) -> None:
    assert selectors.label_selector(selector)(labels) is expected


def test_selector_in_a_table() -> None:
    rules = [
        {"key": "b", "operator": "In", "values": ["y", "x"]},
        {"key": "d", "operator": "Exists"},
    ]
    selector = {"matchLabels": {"c": "z"}, "matchExpressions": rules}
    assert selectors.format_selector(selector) == "b in (x,y),c=z,d"
    assert selectors.format_selector({}) == "<none>"


_POD = {
    "metadata": {"name": "p", "namespace": "n"},
    "spec": {"nodeName": "here"},
    "status": {"phase": "Running", "podIP": "10.0.0.2"},
}


@pytest.mark.parametrize(
    ("kind", "text", "obj", "expected"),
    [
        pytest.param(kinds.POD, "spec.nodeName=here,status.phase!=Failed", _POD, True, id="pod"),
        pytest.param(kinds.POD, "spec.host==here", _POD, True, id="old name of the node"),
        pytest.param(kinds.POD, "spec.hostNetwork=false", _POD, True, id="host network"),
        pytest.param(kinds.POD, "status.podIP=10.0.0.3", _POD, False, id="address"),
        pytest.param(kinds.POD, "metadata.name=p,", _POD, True, id="empty term"),
        pytest.param(
            kinds.EVENT,
            "involvedObject.name=p,source=kubelet",
            {"involvedObject": {"name": "p"}, "reportingComponent": "kubelet"},
            True,
            id="event",
        ),
        pytest.param(kinds.NODE, "spec.unschedulable=false", {}, True, id="node"),
        pytest.param(
            kinds.CONFIG_MAP,
            r"metadata.name=a\,b",
            {"metadata": {"name": "a,b"}},
            True,
            id="escape",
        ),
    ],
)
def test_field_selector(kind: kinds.Kind, text: str, obj: Any, expected: bool) -> None:
    assert selectors.fields(kind, text)(obj) is expected


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        pytest.param(
            kinds.POD, "spec.color=red", "field label not supported: spec.color", id="pod"
        ),
        pytest.param(
            kinds.CONFIG_MAP,
            "data=x",
            '"data" is not a known field selector: only "metadata.name", "metadata.namespace"',
            id="kind without own fields",
        ),
        pytest.param(
            kinds.POD,
            "metadata.name",
            "invalid selector: 'metadata.name'; can't understand 'metadata.name'",
            id="no operator",
        ),
        pytest.param(
            kinds.POD,
            r"metadata.name=a\b",
            r"invalid field selector: invalid escape sequence: \b",
            id="escape",
        ),
    ],
)
def test_field_selector_error(kind: kinds.Kind, text: str, message: str) -> None:
    with pytest.raises(errors.StatusError) as caught:
        selectors.fields(kind, text)
    assert (caught.value.code, caught.value.message) == (400, message)


@given(st.text(max_size=8))
def test_escaped_values_are_read_back(value: str) -> None:
    text = f"metadata.name={selectors.escape_field(value)}"
    assert selectors.parse_fields(text) == [("metadata.name", True, value)]
