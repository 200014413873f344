"""Metrics render as Prometheus reads them."""

from __future__ import annotations

import pytest

from edgeorch.lib import metrics


def test_counters_gauges_and_collected_values() -> None:
    registry = metrics.Registry()
    requests = registry.counter("requests_total", "All\nof them.", ("verb", "code"))
    requests.add("get", "200")
    requests.add("get", "200", by=2)
    requests.add('a"b\\c\n', "500")
    registry.gauge("level", "How high.").set(1.5)
    registry.collected("size", "How big.", lambda: {("x",): 7}, ("of",))
    assert registry.render() == (
        "# HELP requests_total All\\nof them.\n"
        "# TYPE requests_total counter\n"
        'requests_total{verb="get",code="200"} 3\n'
        'requests_total{verb="a\\"b\\\\c\\n",code="500"} 1\n'
        "# HELP level How high.\n"
        "# TYPE level gauge\n"
        "level 1.5\n"
        "# HELP size How big.\n"
        "# TYPE size gauge\n"
        'size{of="x"} 7\n'
    )


def test_a_name_is_taken_once() -> None:
    registry = metrics.Registry()
    registry.counter("a", "")
    with pytest.raises(ValueError, match="there already"):
        registry.gauge("a", "")
