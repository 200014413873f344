"""The Accept header decides on media type and shape."""

from __future__ import annotations

import pytest

from edgeorch.api import negotiation
from edgeorch.model import errors

_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", ("application/json", "", "")),
        ("*/*", ("application/json", "", "")),
        ("application/yaml", ("application/yaml", "", "")),
        (f"{_TABLE},application/json", ("application/json", "Table", "v1")),
        ("application/json;as=Table;v=v2;g=meta.k8s.io,application/json",
         ("application/json", "", "")),
        ("application/vnd.kubernetes.protobuf,application/json", ("application/json", "", "")),
        ("application/json;q=0.1,application/yaml", ("application/yaml", "", "")),
        ("application/yaml;q=0,*/*", ("application/json", "", "")),
        ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
         ("application/json", "PartialObjectMetadata", "v1")),
    ],
)  # fmt: skip
def test_the_best_that_is_served_is_chosen(accept: str, expected: tuple[str, str, str]) -> None:
    chosen = negotiation.choose(accept)
    assert (chosen.media, chosen.shape, chosen.version) == expected


@pytest.mark.parametrize(
    ("accept", "stream"),
    [("text/html", False), ("application/vnd.kubernetes.protobuf", False), (",;", False),
     ("application/yaml", True)],
)  # fmt: skip
def test_what_is_not_served_is_406(accept: str, stream: bool) -> None:
    with pytest.raises(errors.StatusError) as caught:
        negotiation.choose(accept, stream=stream)
    assert caught.value.code == 406
