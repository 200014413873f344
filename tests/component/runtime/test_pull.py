"""Pulling from a real registry into a real containerd, over a line that breaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeorch.lib import metrics
from edgeorch.registry import auth, hosts, pull
from edgeorch.runtime import pulling
from edgeorch.wire import oci
from tests import exposition
from tests.component.runtime import archives, registries
from tests.component.runtime.conftest import Runtime

MIB = 1 << 20


async def _leases(runtime: Runtime) -> list[str]:
    return [lease.id for lease in await runtime.leases.list()]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registries.Registry]:
    with registries.running(tmp_path_factory.mktemp("registry")) as found:
        found.push("team/app", "1.0", [archives.busybox_layer()])
        yield found


def _puller(runtime: Runtime) -> pull.Puller:
    return pull.Puller(pulling.PullSinks(runtime.client), oci.host_platform("x86_64"))


def _source(
    port: int, path: str, tag: str, credential: auth.Credential | None = None
) -> pull.Source:
    domain = f"127.0.0.1:{port}"
    joint = "@" if ":" in tag else ":"
    credentials = [credential] if credential else []
    return pull.Source(
        f"{domain}/{path}{joint}{tag}", path, tag, hosts.serving(domain, {}), lambda _: credentials
    )


async def test_a_pulled_image_runs(runtime: Runtime, registry: registries.Registry) -> None:
    source = _source(registry.port, "team/app", "1.0")
    told: list[tuple[int, int]] = []
    await _puller(runtime).pull(source, lambda have, total: told.append((have, total)))
    config = await runtime.images.config(source.name)
    assert config.cmd == ["/bin/sh"]
    assert told[-1][0] == told[-1][1] > 0
    assert await _leases(runtime) == []


async def test_by_digest(runtime: Runtime, registry: registries.Registry) -> None:
    digest = registry.push("team/fixed", "x", [archives.busybox_layer()])
    source = _source(registry.port, "team/fixed", digest)
    await _puller(runtime).pull(source)
    assert (await runtime.images.get(source.name)).digest == digest


async def test_a_line_that_breaks_costs_only_the_bytes_in_flight(
    runtime: Runtime, registry: registries.Registry
) -> None:
    size = 24 * MIB
    layers = [registries.noise_layer(f"n{seed}", size // 2, seed) for seed in (1, 2)]
    registry.push("team/large", "1.0", [archives.busybox_layer(), *layers])
    async with registries.Line(registry.port) as line:
        line.cuts = [MIB + n * 300_000 for n in range(10)]
        source = _source(line.port, "team/large", "1.0")
        await _puller(runtime).pull(source)
        assert line.cuts == []
        assert line.carried < 1.1 * (size + len(archives.busybox_layer()))
    assert len((await runtime.images.config(source.name)).diff_ids) == 3


@pytest.mark.ask(15)
async def test_another_process_takes_up_what_arrived(
    runtime: Runtime, registry: registries.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first gives up half-way, as when it is killed; the second fetches the rest."""
    size = 12 * MIB
    registry.push("team/half", "1.0", [registries.noise_layer("n", size, 3)])
    monkeypatch.setattr(pull, "ATTEMPTS", 0)
    async with registries.Line(registry.port) as line:
        line.cuts = [size // 2]
        source = _source(line.port, "team/half", "1.0")
        with pytest.raises(pull.PullError):
            await _puller(runtime).pull(source)
        monkeypatch.undo()
        before = line.carried
        second, figures = _puller(runtime), metrics.Registry()
        second.measure(figures)
        await second.pull(source)
        assert line.carried - before < 0.6 * size
        told = exposition.parse(figures.render())
        received = told.value("edgeorch_image_pull_received_bytes_total")
        resumed = told.value("edgeorch_image_pull_resumed_bytes_total")
        assert resumed > 0.3 * size
        assert 0.3 * size < received <= line.carried - before
        assert received + resumed >= size
    assert await _leases(runtime) == []


async def test_a_damaged_byte_is_fetched_again(
    runtime: Runtime, registry: registries.Registry
) -> None:
    registry.push("team/damaged", "1.0", [registries.noise_layer("n", 2 * MIB, 4)])
    async with registries.Line(registry.port) as line:
        line.damage_at = MIB
        source = _source(line.port, "team/damaged", "1.0")
        await _puller(runtime).pull(source)
        assert line.damage_at == 0
    await runtime.images.config(source.name)


@pytest.mark.ask(16)
async def test_what_cannot_fit_is_not_begun(
    runtime: Runtime, registry: registries.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is here it may be pulled again, however full the disk is."""
    size = 2 * MIB
    registry.push("team/wide", "1.0", [registries.noise_layer("n", size, 5)])
    free = 3 * MIB
    shown = SimpleNamespace(
        f_bfree=free // 4096, f_bavail=free // 4096, f_blocks=free // 4096, f_frsize=4096
    )
    async with registries.Line(registry.port) as line:
        source = _source(line.port, "team/wide", "1.0")
        with monkeypatch.context() as tight:
            tight.setattr(pulling.os, "statvfs", lambda _: shown)  # type: ignore[attr-defined]
            with pytest.raises(pull.PullError) as refused:
                await _puller(runtime).pull(source)
            assert line.carried < size // 2
        told = f'failed to pull and unpack image "{source.name}": no space left on device: 2.1 MB'
        assert str(refused.value).startswith(told)
        assert "but only 3.1 MB are free at " in str(refused.value)
        await _puller(runtime).pull(source)
        monkeypatch.setattr(pulling.os, "statvfs", lambda _: shown)  # type: ignore[attr-defined]
        await _puller(runtime).pull(source)


async def test_an_absent_tag_is_told_as_containerd_tells_it(
    runtime: Runtime, registry: registries.Registry
) -> None:
    source = _source(registry.port, "team/app", "nonexistent")
    with pytest.raises(pull.PullError) as caught:
        await _puller(runtime).pull(source)
    assert str(caught.value) == (
        f'failed to pull and unpack image "{source.name}": '
        f'failed to resolve reference "{source.name}": {source.name}: not found'
    )


async def test_nobody_there_is_told_with_the_address(runtime: Runtime) -> None:
    source = _source(registries.free_port(), "team/app", "1.0")
    with pytest.raises(pull.PullError, match="failed to do request: Head"):
        await _puller(runtime).pull(source)


async def test_credentials_open_a_closed_registry(runtime: Runtime, tmp_path: Path) -> None:
    with registries.running(tmp_path, user="me", password="secret") as closed:
        closed.push("team/app", "1.0", [archives.busybox_layer()])
        source = _source(closed.port, "team/app", "1.0")
        with pytest.raises(pull.PullError, match="no basic auth credentials"):
            await _puller(runtime).pull(source)
        wrong = _source(closed.port, "team/app", "1.0", auth.Credential("me", "guess"))
        with pytest.raises(pull.PullError, match="pull access denied"):
            await _puller(runtime).pull(wrong)
        right = _source(closed.port, "team/app", "1.0", auth.Credential("me", "secret"))
        await _puller(runtime).pull(right)
        await runtime.images.config(right.name)
