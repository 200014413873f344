"""A fleet on one machine: devices on one bridge, and the example sender that rolls bundles out."""

from __future__ import annotations

import concurrent.futures
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts.lablib import kernel

from . import lab as labs
from . import manifests, senders

NET = "198.51.100"


@contextmanager
def bridged(devices: list[labs.Lab]) -> Iterator[str]:
    """The network namespace of the fleet's server; the devices are at .1, .2, ... of its net."""
    name = f"fleet-{os.getpid()}"
    kernel.ip("netns", "add", name)
    try:
        kernel.ip("link", "add", "fleet0", "type", "bridge", netns=name)
        kernel.ip("address", "add", f"{NET}.254/24", "dev", "fleet0", netns=name)
        kernel.ip("link", "set", "fleet0", "up", netns=name)
        for number, lab in enumerate(devices, 1):
            port, netns = f"port{number}", lab.device.netns
            kernel.ip(
                "link", "add", port, "netns", name, "type", "veth",
                "peer", "name", "wire0", "netns", netns,
            )  # fmt: skip
            kernel.ip("link", "set", port, "master", "fleet0", "up", netns=name)
            kernel.ip("address", "add", f"{NET}.{number}/24", "dev", "wire0", netns=netns)
            kernel.ip("link", "set", "wire0", "up", netns=netns)
        yield name
    finally:
        kernel.ip("netns", "delete", name)


def app(text: str, command: str) -> list[dict[str, Any]]:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}}
    return [{**config, "data": {"text": text}},
            manifests.deployment("app", manifests.container(command))]  # fmt: skip


@pytest.mark.timeout(labs.rounds(180, 900))
def test_a_bad_bundle_stops_after_the_first_wave_and_undoes_itself(
    new_lab: Callable[..., labs.Lab], images: dict[str, Path], tmp_path: Path
) -> None:
    count, first = labs.rounds(3, 10), labs.rounds(1, 2)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        made = pool.map(lambda _: new_lab(load=(images["busybox-latest"],)), range(count))
        devices = list(made)
    lines = [
        senders.listed(lab, f"{NET}.{number}", tmp_path) for number, lab in enumerate(devices, 1)
    ]
    fleet = tmp_path / "devices"
    fleet.write_text("\n".join(lines) + "\n")

    def shown(lab: labs.Lab) -> tuple[str, str]:
        status = lab.get("bundle", "app")["status"]
        return status["phase"], lab.get("configmap", "app")["data"]["text"]

    with bridged(devices) as netns:

        def send(objects: list[dict[str, Any]], *options: str) -> labs.Result:
            file = tmp_path / "app.yaml"
            file.write_text("\n---\n".join(map(json.dumps, objects)))
            command = [
                "nsenter",
                f"--net=/run/netns/{netns}",
                str(senders.PROGRAM),
                "--devices",
                str(fleet),
            ]
            command += ["--bundle", "app", "--waves", f"{first},100%", *options, str(file)]
            return labs.call(command, check=False, seconds=170)

        patient = "--deadline", "60", "--min-ready", "1"
        hasty = "--deadline", "3", "--min-ready", "3"
        good = send(app("good", "exec sleep 1000"), *patient)
        assert good.returncode == 0, good
        assert good.stdout.count("ready") == count
        assert [shown(lab) for lab in devices] == [("Ready", "good")] * count

        bad = send(app("bad", "exit 1"), *hasty)
        assert bad.returncode == 1
        assert bad.stdout.count("failed: RolledBack") == first
        assert "stopped after wave 1" in bad.stderr
        assert [shown(lab) for lab in devices[:first]] == [("RolledBack", "good")] * first
        assert [shown(lab) for lab in devices[first:]] == [("Ready", "good")] * (count - first)

        # What has failed once is not tried again; what is new is.
        again = send(app("bad", "exit 1"), *hasty)
        assert "has failed on this device" in again.stdout
        better = send(app("better", "exec sleep 1000"), *patient)
        assert better.returncode == 0, better
        assert [shown(lab) for lab in devices] == [("Ready", "better")] * count
