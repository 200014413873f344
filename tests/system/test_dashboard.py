"""The Grafana dashboard shows what a device tells."""

from __future__ import annotations

import json
import re

from tests import exposition

from . import lab as labs

DASHBOARD = labs.CHECKOUT / "manifests/grafana-dashboard.json"
_NAME = re.compile(
    r"\b((?:process|apiserver|edgeorch|kube[a-z]*|workqueue|prober|controller)_\w+)\b"
)
_LABELS = re.compile(r"{{([a-z_]+)}}")
_SELECTED = re.compile(r"([a-z_]+)=~?\"|([a-z_]+)!=\"")
_GROUPED = re.compile(r"\bby \(([a-z_, ]+)\)")
_SCRAPED = {"instance", "le"}
"""Put there by Prometheus, or on buckets only."""


def test_every_figure_of_the_dashboard_is_one_of_the_device(lab: labs.Lab) -> None:
    told = exposition.parse(lab.api("GET", "/metrics").body.decode())
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    shown = [panel for panel in panels if panel["type"] != "row"]
    assert shown
    for panel in shown:
        for target in panel["targets"]:
            names = _NAME.findall(target["expr"])
            assert names, panel["title"]
            for name in names:
                _check(told, name, target["expr"], target["legendFormat"])


def _check(told: exposition.Told, name: str, expr: str, legend: str) -> None:
    family = told.get(name) or told.get(name.removesuffix("_bucket"))
    assert family is not None, name
    assert family.kind == "histogram" or name == family.name, name
    used = {*_LABELS.findall(legend)} - _SCRAPED
    used |= {label for pair in _SELECTED.findall(expr) for label in pair if label} - _SCRAPED
    for group in _GROUPED.findall(expr):
        used |= {label.strip() for label in group.split(",")} - _SCRAPED
    for _, labels in family.samples:
        assert used <= dict(labels).keys(), (name, used)
    if "rate(" in expr or "increase(" in expr:
        assert family.kind in ("counter", "histogram"), name
