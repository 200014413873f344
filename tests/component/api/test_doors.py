"""Who comes in by which door: network, unix socket, health; and how the server closes."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import os
import pathlib
import socket
import ssl
import stat
import struct
from typing import Any

import aiohttp
import pytest

from edgeorch.api import bodies, certs, doors, flow
from edgeorch.lib import clock as clocks
from edgeorch.lib import tasks
from edgeorch.model import errors
from tests.component.api import conftest
from tests.component.api.conftest import Device, config_map, pod

MAPS = "/api/v1/namespaces/default/configmaps"


async def anonymous(device: Device, path: str, **headers: str) -> tuple[int, str]:
    connector = aiohttp.TCPConnector(ssl=False)
    async with (
        aiohttp.ClientSession(connector=connector) as client,
        client.get(device.url + path, headers=headers) as response,
    ):
        return response.status, await response.text()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/readyz/ping", "/version"])
async def test_health_and_version_are_open(device: Device, path: str) -> None:
    assert (await anonymous(device, path))[0] == 200


@pytest.mark.parametrize("path", ["/api", MAPS, "/metrics", "/", "/openapi/v2", "/nowhere"])
async def test_everything_else_needs_credentials(device: Device, path: str) -> None:
    status, text = await anonymous(device, path)
    assert status == 401
    assert '"reason":"Unauthorized"' in text


async def test_guessing_tokens_is_slowed_but_not_for_who_is_known(device: Device) -> None:
    assert (await device.call("GET", MAPS))[0] == 200
    codes = {(await anonymous(device, MAPS, Authorization="Bearer no"))[0] for _ in range(30)}
    assert codes == {401, 429}
    assert (await device.call("GET", MAPS))[0] == 200


async def test_the_socket_is_roots_and_needs_no_token(device: Device) -> None:
    path = device.directory / "api.sock"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    connector = aiohttp.UnixConnector(str(path))
    async with (
        aiohttp.ClientSession(connector=connector) as client,
        client.get(f"http://local{MAPS}") as response,
    ):
        assert response.status == 200


async def test_a_socket_left_behind_is_replaced(tmp_path: pathlib.Path) -> None:
    (tmp_path / "api.sock").touch()
    async with conftest.started(tmp_path) as device:
        assert stat.S_ISSOCK(os.stat(device.directory / "api.sock").st_mode)
    assert not (tmp_path / "api.sock").exists()


async def health(device: Device, path: str) -> tuple[int, str]:
    assert device.server.health is not None
    host, port = device.server.health
    url = f"http://{host}:{port}{path}"
    async with aiohttp.ClientSession() as client, client.get(url) as response:
        return response.status, await response.text()


async def test_health_names_the_reason_locally_only(device: Device) -> None:
    assert await health(device, "/readyz") == (200, "ok")
    assert await health(device, "/readyz?verbose") == (
        200,
        "[+]ping ok\n[+]containerd ok\nreadyz check passed\n",
    )
    device.failing["containerd"] = "cannot connect: no such file"
    assert await health(device, "/readyz") == (
        500,
        "[+]ping ok\n[-]containerd failed: cannot connect: no such file\nreadyz check failed\n",
    )
    assert await anonymous(device, "/readyz") == (
        500,
        "[+]ping ok\n[-]containerd failed: reason withheld\nreadyz check failed\n",
    )
    assert await health(device, "/livez") == (200, "ok")
    assert await health(device, "/readyz?exclude=containerd") == (200, "ok")
    assert (await health(device, "/readyz/containerd"))[0] == 500
    assert (await health(device, "/readyz/nothing"))[0] == 404
    device.failing["containerd"] = None
    assert await health(device, "/readyz") == (200, "ok")


@pytest.mark.parametrize("path", [MAPS, "/metrics", "/", "/api", "/version", "/openapi/v2"])
async def test_the_health_door_leads_nowhere_else(device: Device, path: str) -> None:
    assert (await health(device, path))[0] == 404


async def test_metrics_count_requests_objects_and_memory(device: Device) -> None:
    await device.call("POST", MAPS, config_map("a"))
    async with device.client.get(device.url + "/metrics") as response:
        text = await response.text()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    labels = 'verb="create",resource="configmaps",subresource="",code="201"'
    assert lines[f"apiserver_request_total{{{labels}}}"] == "1"
    assert lines['apiserver_storage_objects{resource="configmaps"}'] == "1"
    assert lines['edgeorch_pods{phase="Running"}'] == "0"
    assert int(lines["process_proportional_memory_bytes"]) > 1_000_000


async def running_pod(device: Device) -> None:
    await device.call("POST", "/api/v1/namespaces/default/pods", pod("p"))
    status = {"name": "main", "state": {"running": {}}, "ready": True, "restartCount": 0}
    status |= {"image": "", "imageID": ""}
    await device.store.update_status(
        "pods", "default", "p", lambda obj: {**obj, "status": {"containerStatuses": [status]}}
    )


async def test_a_followed_log_streams_and_ends_with_the_server(device: Device) -> None:
    await running_pod(device)
    device.logs.lines = [b"one\n"]
    path = "/api/v1/namespaces/default/pods/p/log?follow=true&timestamps=true&sinceSeconds=5"
    async with device.client.get(device.url + path) as response:
        assert await response.content.readline() == b"one\n"
        assert device.logs.asked[-1] == {
            "pod": "default/p", "container": "main", "follow": True, "previous": False,
            "since_seconds": 5, "since_time": None, "timestamps": True, "tail_lines": None,
            "limit_bytes": None, "stream": "",
        }  # fmt: skip
        await device.server.close()
        assert await response.read() == b""
    assert device.logs.ended == 1


async def test_a_log_reader_may_refuse(device: Device) -> None:
    await running_pod(device)
    device.logs.refuse = errors.bad_request("the log is gone")
    status, body = await device.call("GET", "/api/v1/namespaces/default/pods/p/log")
    assert (status, body["message"]) == (400, "the log is gone")
    assert device.logs.ended == 1


async def test_a_write_survives_its_client(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    # The client goes while the write waits for the medium.
    blocked = asyncio.Event()
    written = asyncio.Event()
    create = device.store.create

    async def slow(resource: str, obj: conftest.Object, *, dry_run: bool = False) -> object:
        blocked.set()
        await written.wait()
        return await create(resource, obj, dry_run=dry_run)

    device.store.create = slow  # type: ignore[assignment, method-assign]
    request = asyncio.ensure_future(device.call("POST", MAPS, config_map("a")))
    async with asyncio.timeout(10):
        await blocked.wait()
        await tasks.cancel_and_wait(request)
        written.set()
        with caplog.at_level(logging.INFO, "edgeorch.audit"):
            while not any(
                ' name="a" ' in text and " code=201 " in text for text in caplog.messages
            ):
                await asyncio.sleep(0.01)
    assert device.store.find("configmaps", "default", "a")


async def test_too_many_requests_at_once_are_asked_to_come_back(tmp_path: pathlib.Path) -> None:
    async with (
        conftest.started(tmp_path, flow.Limits(requests=0)) as device,
        device.client.get(device.url + MAPS) as response,
    ):
        assert response.status == 429
        assert response.headers["Retry-After"] == "1"


@pytest.mark.ask(7, 9)
async def test_certificates_follow_addresses_and_survive_damage(tmp_path: pathlib.Path) -> None:
    authority = certs.Authority(tmp_path, clocks.SystemClock())
    assert await authority.ensure(["10.9.8.7", "device"])
    trusted = authority.certificate
    assert not await authority.ensure(["device", "10.9.8.7"])
    assert await authority.ensure(["10.9.8.8", "device"])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    files = ("ca.crt", "ca.key", "server.crt", "server.key", "verified.json")
    assert modes == dict.fromkeys(files, 0o600)
    # Power was cut between key and certificate: the CA stays the one that clients trust.
    (tmp_path / "ca.crt").unlink()
    (tmp_path / "server.crt").write_bytes(b"half a cer")
    again = certs.Authority(tmp_path, clocks.SystemClock())
    assert await again.ensure(["10.9.8.8", "device"])
    context = ssl.create_default_context(cadata=trusted.decode())
    for name in ("10.9.8.8", "device", "kubernetes.default.svc"):
        await handshake(again.context, context, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(again.context, context, "elsewhere")


async def test_certificates_that_were_found_good_are_not_asked_about_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await certs.Authority(tmp_path, clocks.SystemClock()).ensure(["device"])
    with monkeypatch.context() as patched:
        patched.setenv("PATH", "/nowhere")
        again = certs.Authority(tmp_path, clocks.SystemClock())
        assert not await again.ensure(["device"])
        assert again.certificate
        with pytest.raises(certs.CertificateError, match="cannot run openssl"):
            await again.ensure(["another"])
        # Where no new one can be made the old one serves on, also after a restart.
        assert certs.Authority(tmp_path, clocks.SystemClock()).load()
        assert not certs.Authority(tmp_path / "empty", clocks.SystemClock()).load()
        (tmp_path / "server.key").write_bytes(b"other")
        with pytest.raises(certs.CertificateError, match="cannot run openssl"):
            await again.ensure(["device"])


@pytest.mark.parametrize(
    ("days", "wrong", "reason"),
    [
        (36500, False, "CertificatesGood"),
        (59, True, "CertificateNearExpiry"),
        (-1, True, "CertificateExpired"),
    ],
)
def test_the_node_says_when_a_certificate_nears_its_end(
    days: float, wrong: bool, reason: str
) -> None:
    found = certs.condition(days, pathlib.Path("/data/tls"))
    assert found[:3] == ("CertificateNearExpiry", wrong, reason)


@pytest.mark.ask(7)
@pytest.mark.parametrize("year", [1970, 2026, 2099])
async def test_certificates_made_by_any_clock_are_good_by_any_other(
    tmp_path: pathlib.Path, year: int
) -> None:
    made = clocks.ManualClock(now=datetime.datetime(year, 1, 2, tzinfo=datetime.UTC))
    authority = certs.Authority(tmp_path, made)
    await authority.ensure(["device"])
    context = ssl.create_default_context(cadata=authority.certificate.decode())
    await handshake(authority.context, context, "device")  # by this machine's clock
    for found in context.get_ca_certs():
        assert str(found["notBefore"]).startswith("Jan  1 00:00:00 1970")
    days = authority.days_left()
    assert days is not None
    assert days > 99 * 365
    made.advance(99.5 * 365 * 86400 + 60 * 365 * 86400 * (year == 1970))
    assert await authority.ensure(["device"]) is True


async def test_a_client_is_known_by_its_certificate_whatever_its_dates(device: Device) -> None:
    """One that ended years ago is good until a clock that somebody keeps says so."""
    long_ago = clocks.ManualClock(now=datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC))
    authority = certs.Authority(device.directory / "pki", long_ago)
    certificate, key = await authority.client("ann", "edgeorch:view", datetime.timedelta(days=1))
    (device.directory / "ann.pem").write_bytes(certificate + key)
    context = ssl.create_default_context(cafile=str(device.directory / "pki/ca.crt"))
    context.load_cert_chain(device.directory / "ann.pem")
    url, name = "/apis/authentication.k8s.io/v1/selfsubjectreviews", "SelfSubjectReview"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": name}

    async def me() -> tuple[int, Any]:
        connector = aiohttp.TCPConnector(ssl=context)
        async with (
            aiohttp.ClientSession(connector=connector) as client,
            client.post(device.url + url, json=body) as response,
        ):
            return response.status, await response.json()

    device.authenticator.synchronized = lambda: False
    code, found = await me()
    assert (code, found["status"]["userInfo"]) == (
        201, {"username": "ann", "groups": ["edgeorch:view", "system:authenticated"]}
    )  # fmt: skip
    device.authenticator.synchronized = lambda: True
    assert (await me())[0] == 401


async def test_another_authoritys_certificate_is_refused(
    device: Device, tmp_path: pathlib.Path
) -> None:
    other = certs.Authority(tmp_path / "other", clocks.SystemClock())
    await other.ensure([])
    certificate, key = await other.client("ann", "system:masters", datetime.timedelta(days=1))
    (tmp_path / "ann.pem").write_bytes(certificate + key)
    context = ssl.create_default_context(cafile=str(device.directory / "pki/ca.crt"))
    context.load_cert_chain(tmp_path / "ann.pem")
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as client:
        with pytest.raises(aiohttp.ClientError):
            await client.get(device.url + "/livez")


async def handshake(ours: ssl.SSLContext, theirs: ssl.SSLContext, name: str) -> None:
    listener = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=ours
    )
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=theirs, server_hostname=name
        )
        writer.close()


async def test_a_name_that_is_none_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(certs.CertificateError, match="not a host name"):
        await certs.Authority(tmp_path, clocks.SystemClock()).ensure(["a\nb"])


async def opened(device: Device) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.create_default_context(cafile=str(device.directory / "pki/ca.crt"))
    host, port = device.server.network[0]
    return await asyncio.open_connection(host, port, ssl=context)


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nHost: device\r\nA"])
async def test_a_connection_that_brings_no_request_is_closed(
    device: Device, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(doors, "FIRST_REQUEST", 0.05)
    reader, writer = await opened(device)
    writer.write(sent)
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()


async def test_a_connection_that_brought_one_stays(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "FIRST_REQUEST", 1.0)
    reader, writer = await opened(device)
    idle = await opened(device)
    for _ in range(2):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: device\r\n\r\n")
        assert await reader.readuntil(b"ok")
        async with asyncio.timeout(20):  # until the other one, as old, is gone
            with contextlib.suppress(ConnectionError):
                await idle[0].read()
    writer.close()
    idle[1].close()


async def test_a_body_that_does_not_come_is_not_waited_for(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "_SECONDS", 0.05)
    reader, writer = await opened(device)
    head = f"POST {MAPS} HTTP/1.1\r\nHost: device\r\nAuthorization: Bearer {device.token}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{{".encode())
    async with asyncio.timeout(20):
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_too_many_headers_are_refused(device: Device) -> None:
    headers = {f"X-{number}": "y" for number in range(500)}
    status, _ = await anonymous(device, "/livez", **headers)
    assert 400 <= status < 500


async def test_a_change_is_one_line_in_the_log(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "edgeorch.audit"):
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "s-"}}
        secret |= {"stringData": {"password": "hunter2"}}
        url = "/api/v1/namespaces/default/secrets"
        _, made = await device.call("POST", url, secret, **{"Audit-ID": "one"})
        name = made["metadata"]["name"]
        await device.call("GET", f"{url}/{name}")
        viewer = {"Impersonate-User": "ann", "Impersonate-Group": "edgeorch:view"}
        await device.call("DELETE", f"{url}/{name}", **viewer, **{"Audit-ID": "two"})
    told = [record.getMessage() for record in caplog.records if record.name == "edgeorch.audit"]
    where = f'resource="secrets" namespace="default" name="{name}" from="127.0.0.1"'
    assert len(told) == 2
    assert told[0].startswith(f'user="system:admin" verb="create" {where} code=201 agent=')
    assert told[0].endswith(' id="one"')
    assert told[1].startswith(f'user="system:admin" as="ann" verb="delete" {where} code=403 ')
    assert "hunter2" not in "".join(told)


async def test_big_bodies_are_read_a_few_at_a_time(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that have come so far wait, small ones go on."""
    head = (
        f"POST {MAPS} HTTP/1.1\r\nHost: device\r\nAuthorization: Bearer {device.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 600000\r\n\r\n"
    )
    half = head.encode() + b" " * 300_000
    slow = [await opened(device) for _ in range(bodies.BIG_AT_ONCE)]
    for _, writer in slow:
        writer.write(half)
        await writer.drain()
    late_reader, late = await opened(device)
    late.write(half + b"{" + b" " * 299_999)
    await late.drain()
    assert (await device.call("POST", MAPS, config_map("small")))[0] == 201
    assert not late_reader._buffer  # type: ignore[attr-defined]
    slow[0][1].close()
    async with asyncio.timeout(20):
        assert (await late_reader.readline()).startswith(b"HTTP/1.1 400")
    for _, writer in [*slow[1:], (late_reader, late)]:
        writer.close()


async def test_figures_are_shown_openly_only_where_that_is_asked_for(
    tmp_path: pathlib.Path,
) -> None:
    async with conftest.started(tmp_path, open_metrics=True) as device:
        assert "process_proportional_memory_bytes" in (await health(device, "/metrics"))[1]
        assert (await health(device, "/version"))[0] == 404


async def test_every_connection_is_counted_out_again(device: Device) -> None:
    """Whatever ends it: a goodbye, a reset, a handshake that is none."""
    host, port = device.server.network[0]
    context = ssl.create_default_context(cafile=str(device.directory / "pki/ca.crt"))
    for _ in range(3):
        _, writer = await opened(device)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: device\r\nConnection: close\r\n\r\n")
        writer.close()
        _, writer = await asyncio.open_connection(host, port)
        writer.write(b"this is no TLS")
        writer.close()
        with socket.create_connection((host, port)) as rude:
            linger = struct.pack("ii", 1, 0)
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        with pytest.raises(ssl.SSLError):
            await asyncio.open_connection(host, port, ssl=context, server_hostname="elsewhere")
    async with asyncio.timeout(20):
        while (await figure(device, "edgeorch_api_connections")) != 1:
            await asyncio.sleep(0.01)


async def figure(device: Device, name: str) -> float:
    """By a connection of its own client's."""
    async with device.client.get(device.url + "/metrics") as response:
        lines = (await response.text()).splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[-1])
