"""What comes after a later version is not taken."""

from __future__ import annotations

import pytest

from edgeorch.core import bundle_push
from edgeorch.model import bundles, errors


@pytest.mark.parametrize(
    ("highest", "sequence", "told"),
    [
        (None, None, ""),
        (None, 0, ""),
        ("7", 7, ""),
        ("7", 8, ""),
        ("10", 9, "its edgeorch.io/sequence is 9, and one of 10 was taken before"),
        ("7", None, "its manifests have no edgeorch.io/sequence, and one of 7 was taken before"),
        ("many", 9, "kube-system/bundle-sequences says 'many' of it, which is no sequence"),
    ],
)
def test_order(highest: str | None, sequence: int | None, told: str) -> None:
    """Force does not help."""
    asked = bundles.Push("shop", b"", [], sequence=sequence, force=True)
    if not told:
        bundle_push.refuse_order(asked, highest)
        return
    with pytest.raises(errors.StatusError) as refused:
        bundle_push.refuse_order(asked, highest)
    assert refused.value.code == 409
    assert told in refused.value.message
