"""What --config may change, and what containerd is told."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from scripts.lablib import device, settings

DEMO = device.parse("demo")


@pytest.mark.parametrize(
    ("over", "path", "value"),
    [
        ({"network": {"pod_cidr": "10.9.0.0/24"}}, ("network", "pod_cidr"), "10.9.0.0/24"),
        ({"network": {"pod_cidr": "10.9.0.0/24"}}, ("network", "bridge"), "edgeorch0"),
        ({"node": {"name": "pi"}}, ("node", "name"), "pi"),
        ({"log_level": "debug"}, ("log_level",), "debug"),
        ({"node": {"labels": {"a": "b"}}}, ("node", "labels", "a"), "b"),
    ],
    ids=["replaced", "kept beside", "default changed", "key added", "mapping added"],
)
def test_config_is_merged_key_by_key(
    over: dict[str, Any], path: tuple[str, ...], value: object
) -> None:
    found: Any = settings.merged(settings.edgeorch_settings(DEMO), over)
    for key in path:
        found = found[key]
    assert value == found


def test_merging_leaves_its_arguments_alone() -> None:
    base = {"a": {"b": 1}}
    assert settings.merged(base, {"a": {"c": 2}}) == {"a": {"b": 1, "c": 2}}
    assert base == {"a": {"b": 1}}


@pytest.mark.parametrize(
    "over",
    [{"data_dir": "/x"}, {"cgroup_root": "/y"}, {"containerd": {"address": "/z"}}, ["a"], "text"],
    ids=str,
)
def test_config_may_not_hide_the_device_from_down(over: object) -> None:
    with pytest.raises(device.LabError):
        settings.checked_override(over)


def test_an_empty_config_file_changes_nothing() -> None:
    assert settings.checked_override(None) == {}


def test_containerd_keeps_everything_in_the_device() -> None:
    config = tomllib.loads(settings.containerd_toml(DEMO))
    paths = [config["root"], config["state"], config["grpc"]["address"], config["ttrpc"]["address"]]
    assert all(path.startswith((f"{DEMO.run}/", f"{DEMO.data}/")) for path in paths)
    assert config["version"] == 2
    assert "io.containerd.grpc.v1.cri" in config["disabled_plugins"]


def test_edgeorch_keeps_everything_in_the_device() -> None:
    config = settings.edgeorch_settings(DEMO)
    paths = [config["data_dir"], config["run_dir"], config["log_dir"], config["api"]["kubeconfig"]]
    assert all(path.startswith((f"{DEMO.run}/", f"{DEMO.data}/")) for path in paths)
