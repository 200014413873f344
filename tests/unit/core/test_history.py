"""The history of a template: one revision each, the current one the highest."""

from __future__ import annotations

from typing import Any

import hypothesis
import msgspec
from hypothesis import strategies as st

from edgeorch.core import history
from edgeorch.model import workloads

Object = dict[str, Any]


def template(image: str) -> Object:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": image}]}}


def revision(name: str, number: int, image: str) -> workloads.ControllerRevision:
    body = {
        "metadata": {"name": name},
        "revision": number,
        "data": history.data_of(template(image)),
    }
    return msgspec.convert(body, workloads.ControllerRevision)


A, B = revision("web-a", 1, "web:1"), revision("web-b", 2, "web:2")


def test_a_new_template_gets_the_next_number() -> None:
    found = history.plan(template("web:3"), [A, B], None)
    assert isinstance(found, history.Create)
    assert found.revision == 3


def test_the_current_one_is_found() -> None:
    assert history.plan(template("web:2"), [A, B], None) is B


def test_one_that_comes_back_is_numbered_anew() -> None:
    assert history.plan(template("web:1"), [A, B], None) == history.Renumber("web-a", 3)


def test_a_collision_gives_another_hash() -> None:
    body = template("web:1")
    hashes = {history.hash_of(body, count) for count in (None, 1, 2)}
    assert len(hashes) == 3


def test_data_puts_the_template_back() -> None:
    data = history.data_of(template("web:1"))
    assert data["spec"]["template"]["$patch"] == "replace"
    assert history.template_of(A) == template("web:1")


def test_the_oldest_go_and_the_living_stay() -> None:
    known = [revision(f"web-{n}", n, f"web:{n}") for n in range(1, 7)]
    assert history.excess(known, {"web-6", "web-1"}, 2) == ["web-2", "web-3"]
    assert history.excess(known, {"web-6"}, 10) == []
    assert history.excess(known, {"web-6"}, 0) == [f"web-{n}" for n in range(1, 6)]


def test_owner_labels_and_annotations_travel() -> None:
    meta = {"name": "web", "namespace": "n", "annotations": {"kubernetes.io/change-cause": "why"}}
    owner = {"metadata": meta, "spec": {"template": template("web:1")}}
    made = history.new_revision(owner, history.Create(4, "abc"), {"uid": "s"}, "hash-label")
    assert made["metadata"]["name"] == "web-abc"
    assert made["metadata"]["labels"] == {"app": "web", "hash-label": "abc"}
    assert made["metadata"]["annotations"] == meta["annotations"]
    assert made["revision"] == 4


@hypothesis.given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_whatever_the_order_the_current_one_leads(images: list[int]) -> None:
    known: dict[str, workloads.ControllerRevision] = {}
    for number in images:
        image = f"web:{number}"
        action = history.plan(template(image), list(known.values()), None)
        match action:
            case history.Create(at, hashed):
                name = history.name_of("web", hashed)
                assert name not in known
                known[name] = revision(name, at, image)
            case history.Renumber(name, at):
                known[name] = revision(name, at, image)
            case workloads.ControllerRevision():
                assert action.metadata.name in known
        latest = max(known.values(), key=lambda each: each.revision)
        assert history.template_of(latest) == template(image)
        assert history.plan(template(image), list(known.values()), None) is latest
    assert len(known) == len(set(images))
