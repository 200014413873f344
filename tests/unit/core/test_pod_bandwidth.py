"""The bandwidth annotations of pods."""

from __future__ import annotations

import pytest

from edgeorch.core import pod_bandwidth
from edgeorch.core.pod_bandwidth import Bandwidth


@pytest.mark.parametrize(
    ("annotations", "wanted"),
    [
        ({}, Bandwidth()),
        ({"kubernetes.io/ingress-bandwidth": "1M"}, Bandwidth(ingress=1_000_000)),
        ({"kubernetes.io/egress-bandwidth": "8Ki"}, Bandwidth(egress=8192)),
    ],
    ids=["none", "in", "out"],
)
def test_rates_are_bits_per_second(annotations: dict[str, str], wanted: Bandwidth) -> None:
    assert pod_bandwidth.limits(annotations) == wanted


@pytest.mark.parametrize("text", ["999", "2P", "fast", "-1M"])
def test_unreasonable_rates_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="egress-bandwidth"):
        pod_bandwidth.limits({"kubernetes.io/egress-bandwidth": text})
