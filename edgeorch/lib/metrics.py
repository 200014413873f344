"""What the process counts, and its text for Prometheus.

A small registry: counters and gauges that code keeps, and collected gauges that are asked only when
somebody scrapes, so that an unscraped device spends nothing. Not thread-safe: everything runs on
the event loop.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Labels = tuple[str, ...]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Counter:
    """Only grows. `labels` are the names; values are given in the same order."""

    kind = "counter"

    def __init__(self, name: str, help_text: str, labels: Labels = ()) -> None:
        self.name = name
        self.help = help_text
        self.labels = labels
        self._values: dict[Labels, float] = {}

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


class Collected:
    """A metric computed when it is read. `collect` gives label values and the value."""

    def __init__(
        self,
        name: str,
        help_text: str,
        collect: Callable[[], Mapping[Labels, float]],
        labels: Labels = (),
        kind: str = "gauge",
    ) -> None:
        self.name = name
        self.help = help_text
        self.labels = labels
        self.kind = kind
        self._collect = collect

    def samples(self) -> Iterable[tuple[Labels, float]]:
        return self._collect().items()


class Registry:
    """All metrics of the process, in the order in which they were added."""

    def __init__(self) -> None:
        self._metrics: dict[str, Counter | Collected] = {}

    def counter(self, name: str, help_text: str, labels: Labels = ()) -> Counter:
        counter = Counter(name, help_text, labels)
        self._add(counter)
        return counter

    def gauge(self, name: str, help_text: str, labels: Labels = ()) -> Gauge:
        gauge = Gauge(name, help_text, labels)
        self._add(gauge)
        return gauge

    def collected(
        self,
        name: str,
        help_text: str,
        collect: Callable[[], Mapping[Labels, float]],
        labels: Labels = (),
        kind: str = "gauge",
    ) -> None:
        self._add(Collected(name, help_text, collect, labels, kind))

    def _add(self, metric: Counter | Collected) -> None:
        if metric.name in self._metrics:
            raise ValueError(f"metric {metric.name} is there already")
        self._metrics[metric.name] = metric

    def render(self) -> str:
        lines: list[str] = []
        for metric in self._metrics.values():
            lines.append(f"# HELP {metric.name} {_escape_help(metric.help)}")
            lines.append(f"# TYPE {metric.name} {metric.kind}")
            lines.extend(
                f"{metric.name}{_labels(metric.labels, values)} {_number(value)}"
                for values, value in metric.samples()
            )
        return "\n".join(lines) + "\n"


def _labels(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escape_help(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
