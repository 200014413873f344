"""Server-side apply keeps, takes and gives up fields as Kubernetes does (KEP-555)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.lib import json
from edgeorch.model import apply, errors, fieldset, kinds, schema

TABLE = schema.load()
NOW, LATER = "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"


def applied(live: Any, config: Any, manager: str = "me", *, force: bool = False) -> Any:
    before = json.encode([live, config])
    found = apply.apply(TABLE, kinds.DEPLOYMENT, live, config, manager, NOW, force=force)
    assert json.encode([live, config]) == before
    return found


def updated(live: Any, obj: Any, manager: str = "kubectl", now: str = LATER, **more: Any) -> Any:
    return apply.update(TABLE, kinds.DEPLOYMENT, live, obj, manager, now, **more)


def deployment(replicas: int | None = 1, *containers: Any, **labels: str) -> Any:
    obj: Any = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": labels},
        "spec": {"template": {"spec": {"containers": list(containers)}}},
    }
    if replicas is not None:
        obj["spec"]["replicas"] = replicas
    return obj


def bare(obj: Any) -> Any:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}


def entries(obj: Any) -> Any:
    return {
        (entry["manager"], entry["operation"]): entry["fieldsV1"]
        for entry in obj["metadata"].get("managedFields", ())
    }


A = {"name": "a", "image": "1", "ports": [{"containerPort": 80}]}


def test_the_books_of_an_apply() -> None:
    found = applied({}, deployment(3, A, app="web"))
    assert found["metadata"]["managedFields"] == [
        {
            "manager": "me",
            "operation": "Apply",
            "apiVersion": "apps/v1",
            "time": NOW,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {
                    "f:replicas": {},
                    "f:template": {
                        "f:spec": {
                            "f:containers": {
                                'k:{"name":"a"}': {
                                    ".": {},
                                    "f:image": {},
                                    "f:name": {},
                                    "f:ports": {
                                        'k:{"containerPort":80,"protocol":"TCP"}': {
                                            ".": {},
                                            "f:containerPort": {},
                                        }
                                    },
                                }
                            }
                        }
                    },
                },
            },
        }
    ]


def test_applying_the_same_again_changes_nothing() -> None:
    first = applied({}, deployment(3, A))
    assert applied(first, deployment(3, A)) is first


def test_what_another_manager_owns_is_a_conflict() -> None:
    live = applied({}, deployment(3, A), "other")
    with pytest.raises(errors.StatusError) as caught:
        applied(live, deployment(5))
    status = caught.value.status()
    assert (status["code"], status["reason"]) == (409, "Conflict")
    assert status["message"] == (
        'Apply failed with 1 conflict: conflict with "other": .spec.replicas'
    )
    assert status["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "other"',
            "field": ".spec.replicas",
        }
    ]


def test_many_conflicts_are_listed_by_manager() -> None:
    live = updated({}, deployment(3, A), "kubectl")
    with pytest.raises(errors.StatusError) as caught:
        applied(live, deployment(5, {**A, "image": "2"}))
    assert caught.value.message == (
        'Apply failed with 2 conflicts: conflicts with "kubectl" using apps/v1:\n'
        "- .spec.replicas\n"
        '- .spec.template.spec.containers[name="a"].image'
    )


def test_force_takes_the_field_over() -> None:
    live = applied({}, deployment(3, A), "other")
    found = applied(live, deployment(5), force=True)
    assert found["spec"]["replicas"] == 5
    books = entries(found)
    assert books["me", "Apply"]["f:spec"]["f:replicas"] == {}
    assert "f:replicas" not in books["other", "Apply"]["f:spec"]


def test_equal_values_are_shared() -> None:
    live = applied({}, deployment(3), "other")
    found = applied(live, deployment(3))
    assert all(fields["f:spec"]["f:replicas"] == {} for fields in entries(found).values())
    # One lets go: the value stays, for the other still wants it.
    assert applied(found, deployment(None))["spec"]["replicas"] == 3


def test_what_is_named_no_more_goes() -> None:
    live = applied({}, deployment(3, A, {"name": "b", "image": "1"}, app="web", tier="x"))
    found = applied(live, deployment(None, {"name": "a", "image": "2"}, app="web"))
    assert bare(found) == deployment(None, {"name": "a", "image": "2"}, app="web")


def test_what_others_put_into_an_element_keeps_it() -> None:
    live = applied({}, deployment(3, A))
    with_env = json.decode(json.encode(live))
    with_env["spec"]["template"]["spec"]["containers"][0]["tty"] = True
    live = updated(live, with_env)
    found = applied(live, deployment(3))
    assert found["spec"]["template"]["spec"]["containers"] == [{"name": "a", "tty": True}]


def test_defaults_that_nobody_owns_go_with_their_element() -> None:
    live = applied({}, deployment(1, A))
    live["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "Always"
    found = applied(live, deployment(1))
    assert found["spec"]["template"]["spec"]["containers"] == []


def test_elements_keep_their_place_among_others() -> None:
    x, b, y = ({"name": name, "image": "1"} for name in "xby")
    live = applied({}, deployment(1, x, A, y), "other")
    found = applied(live, deployment(1, A, b))
    names = [item["name"] for item in found["spec"]["template"]["spec"]["containers"]]
    assert names == ["x", "a", "y", "b"]


def test_the_first_apply_does_not_own_what_was_there() -> None:
    live = deployment(3, A, app="web")
    with pytest.raises(errors.StatusError, match="before-first-apply"):
        applied(live, deployment(5))
    found = applied(live, deployment(3))
    assert set(entries(found)) == {("before-first-apply", "Update"), ("me", "Apply")}


def test_an_update_takes_what_it_changes() -> None:
    live = applied({}, deployment(3, A))
    found = updated(live, {**live, "spec": {**live["spec"], "replicas": 7}})
    books = entries(found)
    assert books["kubectl", "Update"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in books["me", "Apply"]["f:spec"]
    assert updated(found, found, now="2025-01-01T00:00:00Z") == found


def test_who_fills_a_map_first_owns_it_too() -> None:
    """As the API server books it: structs that are always there have no owner."""
    live = updated(
        {},
        {
            "metadata": {"name": "web", "labels": {"a": "b"}},
            "spec": {
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
                "template": {
                    "spec": {
                        "containers": [
                            {
                                "name": "c",
                                "env": [
                                    {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}
                                ],
                                "resources": {"limits": {"cpu": "1"}},
                            }
                        ]
                    }
                },
            },
        },
        "me",
    )
    (fields,) = entries(live).values()
    assert fields["f:metadata"] == {"f:labels": {".": {}, "f:a": {}}}
    assert fields["f:spec"] == {
        "f:strategy": {"f:type": {}, "f:rollingUpdate": {".": {}, "f:maxSurge": {}}},
        "f:template": {
            "f:spec": {
                "f:containers": {
                    'k:{"name":"c"}': {
                        ".": {},
                        "f:name": {},
                        "f:env": {
                            ".": {},
                            'k:{"name":"N"}': {
                                ".": {},
                                "f:name": {},
                                "f:valueFrom": {".": {}, "f:fieldRef": {}},
                            },
                        },
                        "f:resources": {"f:limits": {".": {}, "f:cpu": {}}},
                    }
                }
            }
        },
    }


def test_status_is_booked_under_its_subresource() -> None:
    live = applied({}, deployment(3))
    found = updated(live, {**live, "status": {"replicas": 3}}, "agent", subresource="status")
    entry = found["metadata"]["managedFields"][-1]
    assert (entry["manager"], entry["subresource"]) == ("agent", "status")
    assert entry["fieldsV1"] == {"f:status": {"f:replicas": {}}}


def test_updaters_are_capped() -> None:
    live: Any = {}
    for number in range(15):
        obj = deployment(1, **{f"l{n}": "x" for n in range(number + 1)})
        live = updated(live, {**obj, "metadata": {**live.get("metadata", {}), **obj["metadata"]}},
                       f"m{number:02}", f"2024-01-01T00:00:{number:02}Z")  # fmt: skip
    managers = [entry["manager"] for entry in live["metadata"]["managedFields"]]
    assert len(managers) == 10
    assert "ancient-changes" in managers
    labels = [fields.get("f:metadata", {}).get("f:labels", {}) for fields in entries(live).values()]
    assert {name for found in labels for name in found} == {".", *(f"f:l{n}" for n in range(15))}


def test_an_empty_list_resets_the_books() -> None:
    live = applied({}, deployment(3))
    obj = {**live, "metadata": {"name": "web", "managedFields": []}}
    assert "managedFields" not in updated(live, obj)["metadata"]


def test_a_configuration_may_not_set_the_books() -> None:
    with pytest.raises(errors.StatusError, match=r"metadata.managedFields must be nil"):
        applied({}, applied({}, deployment(3)))


ELEMENTS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"', "f:."])
PATHS = st.frozensets(st.lists(ELEMENTS, min_size=1, max_size=4).map(tuple), max_size=8)


@given(PATHS)
def test_field_sets_survive_their_text_form(paths: Any) -> None:
    assert fieldset.decode(fieldset.encode(paths)) == paths


@pytest.mark.parametrize("fields", [[], {"x": {}}, {"f:a": 1}])
def test_malformed_field_sets_are_refused(fields: Any) -> None:
    with pytest.raises(ValueError, match="cannot decode fieldsV1"):
        fieldset.decode(fields)


NAMES = st.sampled_from(["a", "b", "c"])
CONTAINERS = st.lists(
    st.fixed_dictionaries({"name": NAMES}, optional={"image": NAMES, "tty": st.booleans()}),
    max_size=3,
    unique_by=lambda item: str(item["name"]),
)
CONFIGS = st.builds(
    lambda replicas, containers, labels: deployment(replicas, *containers, **labels),
    st.none() | st.integers(0, 3),
    CONTAINERS,
    st.dictionaries(NAMES, NAMES, max_size=2),
)


@given(CONFIGS, CONFIGS)
def test_the_last_configuration_of_a_sole_manager_is_the_object(first: Any, last: Any) -> None:
    found = applied(applied({}, first), last)
    assert fieldset.paths_of(bare(found), table_type()) == fieldset.paths_of(last, table_type())
    assert dict(fieldset.flatten(bare(found), table_type())) == dict(
        fieldset.flatten(last, table_type())
    )


@given(CONFIGS, CONFIGS, CONFIGS)
def test_forced_applies_always_get_what_they_ask(mine: Any, theirs: Any, again: Any) -> None:
    live = applied(applied({}, mine), theirs, "other", force=True)
    found = dict(fieldset.flatten(bare(applied(live, again, force=True)), table_type()))
    for path, value in fieldset.flatten(again, table_type()):
        assert found.get(path) == value or value in ([], {})


def table_type() -> schema.Struct:
    return TABLE.type_of("apps/v1", "Deployment")
