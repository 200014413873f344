"""Metrics render as Prometheus reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.lib import metrics
from tests import exposition


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


def test_what_has_no_labels_is_told_before_it_happens() -> None:
    registry = metrics.Registry()
    registry.add(
        metrics.Counter("failures_total", "None yet."),
        metrics.Counter("results_total", "None yet.", ("result",)),
        metrics.Histogram("took_seconds", "Nothing yet.", (1.0,)),
    )
    told = exposition.parse(registry.render())
    assert told["failures_total"].samples == {("failures_total", frozenset()): 0}
    assert told["results_total"].samples == {}
    assert told.value("took_seconds_count") == 0


def test_buckets_count_what_is_not_above_their_bound() -> None:
    registry = metrics.Registry()
    took = metrics.Histogram("took_seconds", "How long.", (0.5, 1.0, 10.0), ("of",))
    registry.add(took)
    for seconds in (0.25, 0.5, 0.75, 10.0, 11.0):
        took.observe(seconds, "x")
    assert registry.render() == (
        "# HELP took_seconds How long.\n"
        "# TYPE took_seconds histogram\n"
        'took_seconds_bucket{of="x",le="0.5"} 2\n'
        'took_seconds_bucket{of="x",le="1"} 3\n'
        'took_seconds_bucket{of="x",le="10"} 4\n'
        'took_seconds_bucket{of="x",le="+Inf"} 5\n'
        'took_seconds_sum{of="x"} 22.5\n'
        'took_seconds_count{of="x"} 5\n'
    )


def test_the_time_inside_counts_however_it_ends() -> None:
    took = metrics.Histogram("took_seconds", "How long.")
    with pytest.raises(KeyError), took.timed():
        raise KeyError
    with took.timed():
        pass
    ((labels, found),) = took.samples()
    assert (labels, found.count) == ((), 2)
    assert 0 <= found.sum < 10


_VALUES = st.lists(st.floats(0, 1e6), max_size=50)


@given(
    st.dictionaries(st.text(), _VALUES, max_size=5),
    st.sets(st.floats(0.001, 1e6), min_size=1, max_size=8),
)
def test_a_scraper_reads_any_distribution(
    values: dict[str, list[float]], bounds: set[float]
) -> None:
    registry = metrics.Registry()
    took = metrics.Histogram("took_seconds", "How long.", sorted(bounds), ("of",))
    registry.add(took)
    for label, observed in values.items():
        for value in observed:
            took.observe(value, str(sorted(values).index(label)))
    told = exposition.parse(registry.render())
    for label, observed in values.items():
        of = str(sorted(values).index(label))
        assert told.value("took_seconds_count", of=of) == len(observed)
        assert told.value("took_seconds_sum", of=of) == pytest.approx(sum(observed))
        for bound in bounds:
            below = sum(value <= bound for value in observed)
            le = metrics._number(bound)
            assert told.value("took_seconds_bucket", of=of, le=le) == below


@given(st.lists(st.text(), min_size=1, unique=True))
def test_any_text_is_a_label(texts: list[str]) -> None:
    registry = metrics.Registry()
    seen = registry.counter("seen_total", "Which.", ("text", "other"))
    for number, text in enumerate(texts):
        seen.add(text, "x", by=number)
    told = exposition.parse(registry.render())
    assert [told.value("seen_total", text=text) for text in texts] == list(range(len(texts)))


_COUNTER = "# HELP a A.\n# TYPE a counter\n"
_HISTOGRAM = "# HELP a A.\n# TYPE a histogram\n"


@pytest.mark.parametrize(
    "text",
    [
        _COUNTER + "a 1",
        "# TYPE a counter\na 1\n",
        "# HELP a A.\na 1\n",
        _COUNTER + "b 1\n",
        _COUNTER + "a 1\na 2\n",
        _COUNTER + "a -1\n",
        _COUNTER + "a one\n",
        _COUNTER + _COUNTER,
        _COUNTER + 'a{b="\\x"} 1\n',
        _COUNTER + 'a{b="1",b="2"} 1\n',
        _HISTOGRAM + 'a_bucket{le="1"} 1\na_sum 1\na_count 1\n',
        _HISTOGRAM + 'a_bucket{le="+Inf"} 1\na_sum 1\na_count 2\n',
        _HISTOGRAM + 'a_bucket{le="1"} 2\na_bucket{le="+Inf"} 1\na_sum 1\na_count 1\n',
        _HISTOGRAM + 'a_bucket{le="+Inf"} 1\n',
    ],
)
def test_the_reader_of_these_tests_is_strict(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        exposition.parse(text)
