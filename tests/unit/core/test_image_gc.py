"""Which images go when the medium fills up, and which are named by what is stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgeorch.core import image_gc, image_names
from edgeorch.core.image_gc import Image, Thresholds


@pytest.mark.parametrize(
    ("total", "available", "limits", "expected"),
    [
        pytest.param(1000, 200, Thresholds(), 0, id="below"),
        pytest.param(1000, 151, Thresholds(), 49, id="85-percent-of-which-a-part-counts-whole"),
        pytest.param(1000, 150, Thresholds(), 50, id="at-the-high-one"),
        pytest.param(1000, 0, Thresholds(), 200, id="full"),
        pytest.param(1000, 0, Thresholds(high=100), 0, id="off"),
        pytest.param(1000, 500, Thresholds(high=1, low=0), 500, id="always"),
        pytest.param(0, 0, Thresholds(), 0, id="no-capacity"),
    ],
)
def test_how_much_has_to_go(total: int, available: int, limits: Thresholds, expected: int) -> None:
    assert image_gc.to_free(total, available, limits) == expected


def _names(images: list[Image], keep: set[str], order: list[str], now: float = 1000) -> list[str]:
    found = image_gc.candidates(images, keep, order, now, 120)
    return [name for candidate in found for name in candidate.names]


def test_the_least_recently_used_goes_first_and_the_unused_before_all() -> None:
    images = [Image(name, f"sha256:{name}", 1) for name in "abcd"]
    assert _names(images, set(), ["c", "a"]) == ["b", "d", "c", "a"]


def test_what_is_kept_pinned_or_young_stays_with_all_its_names() -> None:
    images = [
        Image("kept", "1", 1),
        Image("kept-too", "1", 1),
        Image("digest", "2", 1),
        Image("pinned", "3", 1, pinned=True),
        Image("young", "4", 1, since=900),
        Image("old", "5", 1, since=880),
        Image("other", "5", 1, since=10),
    ]
    assert _names(images, {"kept", "2"}, []) == ["old", "other"]


@given(
    some.lists(some.tuples(some.sampled_from("abcdef"), some.sampled_from("123"))),
    some.sets(some.sampled_from("abcdef")),
    some.permutations("abcdef"),
)
def test_nothing_that_is_kept_ever_goes(
    pairs: list[tuple[str, str]], keep: set[str], order: list[str]
) -> None:
    images = [Image(name, digest, 1) for name, digest in dict(pairs).items()]
    gone = _names(images, keep, order)
    kept_digests = {image.digest for image in images if image.name in keep}
    assert {image.name for image in images if image.digest not in kept_digests} == set(gone)


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        pytest.param(
            {"spec": {"containers": [{"image": "a"}], "initContainers": [{"image": "b:1"}]}},
            {"docker.io/library/a:latest", "docker.io/library/b:1"},
            id="pod",
        ),
        pytest.param(
            {"spec": {"ephemeralContainers": [{"image": "r.example/x@sha256:" + "0" * 64}]}},
            {"r.example/x@sha256:" + "0" * 64},
            id="ephemeral-by-digest",
        ),
        pytest.param(
            {
                "spec": {
                    "jobTemplate": {
                        "spec": {"template": {"spec": {"containers": [{"image": "r.example/x"}]}}}
                    }
                }
            },
            {"r.example/x:latest"},
            id="cron-job",
        ),
        pytest.param(
            {"data": {"spec": {"template": {"spec": {"containers": [{"image": "r:5/x:2"}]}}}}},
            {"r:5/x:2"},
            id="controller-revision",
        ),
        pytest.param(
            {"spec": {"volumes": [{"name": "v", "image": {"reference": "data:1"}}, {"name": "w"}]}},
            {"docker.io/library/data:1"},
            id="image-volume",
        ),
        pytest.param(
            {"spec": {"containers": [{"image": "Bad!"}, {"name": "x"}, 3], "volumes": None}},
            set(),
            id="what-is-no-image",
        ),
    ],
)
def test_images_that_an_object_names(obj: object, expected: set[str]) -> None:
    assert image_names.named(obj) == expected
