"""The Grafana dashboard shows what a device tells."""

from __future__ import annotations

import json
import re

from . import lab as labs

DASHBOARD = labs.CHECKOUT / "manifests/grafana-dashboard.json"
_NAME = re.compile(r"\b((?:process|apiserver|edgeorch)_[a-z_]+)\b")
_LABELS = re.compile(r"{{([a-z_]+)}}")
_SCRAPED = "instance"
"""Put there by Prometheus."""


def test_every_figure_of_the_dashboard_is_one_of_the_device(lab: labs.Lab) -> None:
    told = lab.api("GET", "/metrics").body.decode()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", told, re.MULTILINE))
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert panels
    for panel in panels:
        for target in panel["targets"]:
            names = _NAME.findall(target["expr"])
            assert names, panel["title"]
            for name in names:
                assert name in kinds, (panel["title"], name)
                samples = re.findall(rf"^{name}({{.*}})? ", told, re.MULTILINE)
                shown = set(_LABELS.findall(target["legendFormat"])) - {_SCRAPED}
                if samples:
                    assert all(f"{label}=" in samples[0] for label in shown), (name, shown)
                if "rate(" in target["expr"] and name.endswith("_total"):
                    assert kinds[name] == "counter", name
