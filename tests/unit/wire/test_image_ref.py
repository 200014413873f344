"""Image references: Docker's defaults, the distribution grammar, the kubelet's errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.wire import image_ref

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.25", "docker.io/library/nginx:1.25"),
        ("library/nginx", "docker.io/library/nginx:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
        ("me/app:v1", "docker.io/me/app:v1"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"),
        ("ghcr.io/a/b/c_d-e.f:V1.2_3-x", "ghcr.io/a/b/c_d-e.f:V1.2_3-x"),
        ("10.0.0.1:5000/app", "10.0.0.1:5000/app:latest"),
        ("[fd00::1]:5000/app:x", "[fd00::1]:5000/app:x"),
        ("Registry/app", "Registry/app:latest"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"nginx:1.25@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        ("a__b/c---d", "docker.io/a__b/c---d:latest"),
    ],
)
def test_a_reference_gets_dockers_defaults(text: str, expected: str) -> None:
    assert str(image_ref.normalise(text)) == expected


def test_as_written_the_tag_stays_beside_the_digest() -> None:
    reference = image_ref.parse(f"quay.io/x/y:1@{DIGEST}")
    assert reference == image_ref.Reference("quay.io", "x/y", "1", DIGEST)
    assert str(reference) == f"quay.io/x/y:1@{DIGEST}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "invalid reference format"),
        ("nginx:", "invalid reference format"),
        (":tag", "invalid reference format"),
        ("nginx:bad tag", "invalid reference format"),
        ("nginx:" + "t" * 129, "invalid reference format"),
        ("nginx\n", "invalid reference format"),
        ("-nginx", "invalid reference format"),
        ("a..b", "invalid reference format"),
        ("a___b", "invalid reference format"),
        ("https://example.com/app", "invalid reference format"),
        ("example.com//app", "invalid reference format"),
        ("nginx@sha256:abc", "invalid reference format"),
        (
            "Nginx",
            "invalid reference format: repository name (library/Nginx) must be lowercase",
        ),
        ("me/App:v1", "invalid reference format: repository name (me/App) must be lowercase"),
        ("nginx@sha256:" + "a" * 63, "invalid checksum digest length"),
        ("nginx@sha256:" + "A" * 64, "invalid checksum digest format"),
        ("nginx@md5:" + "a" * 32, "unsupported digest algorithm"),
        (
            "ab" * 32,
            f"invalid repository name ({'ab' * 32}), cannot specify 64-byte hexadecimal strings",
        ),
        ("x/" + "a" * 256, "repository name must not be more than 255 characters"),
    ],
)
def test_a_bad_reference_is_refused_in_the_kubelets_words(text: str, reason: str) -> None:
    with pytest.raises(image_ref.InvalidReference) as caught:
        image_ref.normalise(text)
    assert caught.value.reason == reason
    assert str(caught.value) == f'couldn\'t parse image reference "{text}": {reason}'


_component = st.from_regex(r"[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}", fullmatch=True)
_domain = st.from_regex(r"[a-z0-9]{1,4}\.[a-zA-Z0-9]{1,4}(:[0-9]{1,5})?", fullmatch=True)
_tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}", fullmatch=True)


@given(_domain, st.lists(_component, min_size=1, max_size=3), _tag, st.booleans())
def test_a_full_reference_is_its_own_normal_form(
    domain: str, components: list[str], tag: str, digested: bool
) -> None:
    text = f"{domain}/{'/'.join(components)}" + (f"@{DIGEST}" if digested else f":{tag}")
    reference = image_ref.normalise(text)
    assert str(reference) == text
    assert image_ref.normalise(str(reference)) == reference


@given(st.text(max_size=30))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        reference = image_ref.normalise(text)
    except image_ref.InvalidReference:
        return
    assert image_ref.normalise(str(reference)) == reference
    assert image_ref.normalise(reference.familiar()) == reference
