"""What the process counts, and its text for Prometheus.

Each part of the house keeps its own figures, and shows them in its `measure(registry)`: counters,
gauges and histograms that code keeps, and collected ones that are asked only when somebody scrapes,
so that what is known anyway is not kept twice. Names and labels are those of Kubernetes where the
meaning is; what a client may choose is a label only as long as its object is there.

Not thread-safe: everything runs on the event loop. Source:
https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4)
"""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Labels = tuple[str, ...]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
QUICK = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
"""Seconds: what usually takes milliseconds."""
SLOW = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds: what usually takes a moment, and may take minutes."""


class Distribution:
    """Values by size: how many were at most each of the bounds, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float] = QUICK) -> None:
        """`bounds` grow; above the last one all values are as one."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def count(self) -> int:
        return sum(self._counts)

    @property
    def sum(self) -> float:
        return self._sum

    def buckets(self) -> Iterable[tuple[str, int]]:
        """Upper bounds as text, and how many values were not above them."""
        bounds = [*(_number(bound) for bound in self._bounds), "+Inf"]
        return zip(bounds, accumulate(self._counts), strict=True)


class Metric(Protocol):
    """`labels` are names; a sample has their values in the same order, and its own."""

    @property
    def name(self) -> str: ...
    @property
    def help(self) -> str: ...
    @property
    def labels(self) -> Labels: ...
    @property
    def kind(self) -> str: ...
    def samples(self) -> Iterable[tuple[Labels, float | Distribution]]: ...


class Counter:
    """Only grows. One without labels tells 0 before it has counted anything."""

    kind = "counter"

    def __init__(self, name: str, help_text: str, labels: Labels = ()) -> None:
        self.name = name
        self.help = help_text
        self.labels = labels
        self._values: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, *values: str, by: float = 1) -> None:
        self._values[values] = self._values.get(values, 0.0) + by

    def value(self, *values: str) -> float:
        return self._values.get(values, 0.0)

    def samples(self) -> Iterable[tuple[Labels, float]]:
        return self._values.items()


class Gauge(Counter):
    """Goes up and down."""

    kind = "gauge"

    def set(self, value: float, *values: str) -> None:
        self._values[values] = value


class Histogram:
    """A distribution for each combination of labels."""

    kind = "histogram"

    def __init__(
        self, name: str, help_text: str, bounds: Sequence[float] = QUICK, labels: Labels = ()
    ) -> None:
        self.name = name
        self.help = help_text
        self.labels = labels
        self._bounds = bounds
        self._values: dict[Labels, Distribution] = {} if labels else {(): Distribution(bounds)}

    def observe(self, value: float, *values: str) -> None:
        found = self._values.get(values)
        if found is None:
            found = self._values[values] = Distribution(self._bounds)
        found.observe(value)

    @contextlib.contextmanager
    def timed(self, *values: str) -> Iterator[None]:
        """The seconds spent inside, however they end."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.observe(time.monotonic() - began, *values)

    def samples(self) -> Iterable[tuple[Labels, Distribution]]:
        return self._values.items()


class Collected:
    """A metric computed when it is read. `collect` gives label values and the value."""

    def __init__(
        self,
        name: str,
        help_text: str,
        collect: Callable[[], Mapping[Labels, float | Distribution]],
        labels: Labels = (),
        kind: str = "gauge",
    ) -> None:
        self.name = name
        self.help = help_text
        self.labels = labels
        self.kind = kind
        self._collect = collect

    def samples(self) -> Iterable[tuple[Labels, float | Distribution]]:
        return self._collect().items()


class Registry:
    """All metrics of the process, in the order in which they were added."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}

    def add(self, *metrics: Metric) -> None:
        for metric in metrics:
            if metric.name in self._metrics:
                raise ValueError(f"metric {metric.name} is there already")
            self._metrics[metric.name] = metric

    def counter(self, name: str, help_text: str, labels: Labels = ()) -> Counter:
        counter = Counter(name, help_text, labels)
        self.add(counter)
        return counter

    def gauge(self, name: str, help_text: str, labels: Labels = ()) -> Gauge:
        gauge = Gauge(name, help_text, labels)
        self.add(gauge)
        return gauge

    def collected(
        self,
        name: str,
        help_text: str,
        collect: Callable[[], Mapping[Labels, float | Distribution]],
        labels: Labels = (),
        kind: str = "gauge",
    ) -> None:
        self.add(Collected(name, help_text, collect, labels, kind))

    def one(
        self, name: str, help_text: str, value: Callable[[], float], kind: str = "gauge"
    ) -> None:
        """A collected metric without labels."""
        self.add(Collected(name, help_text, lambda: {(): value()}, (), kind))

    def render(self) -> str:
        lines: list[str] = []
        for metric in self._metrics.values():
            lines.append(f"# HELP {metric.name} {_escape_help(metric.help)}")
            lines.append(f"# TYPE {metric.name} {metric.kind}")
            for values, value in metric.samples():
                lines.extend(_sample(metric.name, _pairs(metric.labels, values), value))
        return "\n".join(lines) + "\n"


def _sample(name: str, pairs: list[str], value: float | Distribution) -> Iterable[str]:
    labels = _braced(pairs)
    if not isinstance(value, Distribution):
        yield f"{name}{labels} {_number(value)}"
        return
    for bound, count in value.buckets():
        bounded = _braced([*pairs, f'le="{bound}"'])
        yield f"{name}_bucket{bounded} {count}"
    yield f"{name}_sum{labels} {_number(value.sum)}"
    yield f"{name}_count{labels} {value.count}"


def _pairs(names: Labels, values: Labels) -> list[str]:
    return [f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True)]


def _braced(pairs: list[str]) -> str:
    return "{" + ",".join(pairs) + "}" if pairs else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escape_help(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
