"""The command line: what is asked for wrongly is told, and nothing else is given instead."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from unittest import mock

import pytest

from edgeorch import app, check, cli, config
from edgeorch.api import doors, kubeconfig, made_tokens
from edgeorch.lib import tasks


@pytest.fixture
def device(tmp_path: pathlib.Path) -> pathlib.Path:
    file = tmp_path / "config.yaml"
    path = tmp_path / "kubeconfig"
    file.write_text(f"data_dir: {tmp_path}/data\napi: {{kubeconfig: {path}}}\n")
    kubeconfig.write(path, "https://127.0.0.1:6443", b"CA", "administrators-secret")
    return file


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("kubeconfig --token=", "--token: there is no token in it"),
        ("kubeconfig --token -", "--token: there is no token in it"),
        ("kubeconfig --expires 3h", "--expires is that of a new token: say --role too"),
        ("kubeconfig --name ann", "--name is that of a new token: say --role too"),
        ("kubeconfig --server device:6443", "--server: 'device:6443' is no server"),
        ("kubeconfig --role view --server http://device", "--server: 'http://device' is no"),
        ("cert create ann --role view --server https://d", "say --kubeconfig too"),
        ("cert create ann --role view --kubeconfig --server d", "--server: 'd' is no server"),
        ("cert create ann --role view", "there is no CA in"),
        ("token create ann --role view --expires 8000y", "is longer than 1000y"),
        ("token create Ann --role view", "'Ann' is no name"),
        ("token revoke ann", "there is no token ann"),
        ("image import absent.tar", "cannot import absent.tar: No such file"),
        ("image import /", "cannot import /: Is a directory"),
        (f"image import {'a' * 300}", "File name too long"),
    ],
)
def test_what_is_wrong_is_told(
    device: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    told: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert cli.main(["--config", str(device), *command.split()]) == 1
    output = capsys.readouterr()
    assert told in output.err
    assert "secret" not in output.out
    assert made_tokens.read(device.parent / "data" / made_tokens.DIRECTORY) == []


@pytest.mark.parametrize(
    ("hinder", "told"),
    [
        (lambda at: doors.listener(at, doors.Crowd()), "cannot listen on 127.0.0.1 port {}: Addre"),
        (lambda _: pathlib.Path("/proc/self/absent").stat(), "/proc/self/absent: No such file"),
    ],
    ids=["port", "file"],
)
def test_what_hinders_the_start_is_told(
    device: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    hinder: Callable[[tuple[str, int]], object],
    told: str,
) -> None:
    """However many loops ran already."""

    @contextlib.asynccontextmanager
    async def starting(*_: object) -> AsyncIterator[None]:
        async with tasks.running({}), tasks.running({}):
            hinder(taken.getsockname())
            yield

    for name, value in (("_device", starting), ("_begin_log", str), ("gc", mock.Mock())):
        monkeypatch.setattr(app, name, value)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert cli.main(["--config", str(device), "serve"]) == 1
        told = told.format(taken.getsockname()[1])
    assert capsys.readouterr().err.startswith(f"edgeorch: cannot start: {told}")


@pytest.mark.parametrize(
    ("body", "told"),
    [(b"\xff", "it is no text"), (b"[]", "it is none"), (b"{}", "it lacks"), (b"x", "malformed")],
)
def test_a_damaged_kubeconfig_is_told(
    device: pathlib.Path, capsys: pytest.CaptureFixture[str], body: bytes, told: str
) -> None:
    (device.parent / "kubeconfig").write_bytes(body)
    assert cli.main(["--config", str(device), "kubeconfig", "--token", "anns"]) == 1
    assert told in capsys.readouterr().err


def test_check_looks_at_the_files_that_the_configuration_names(tmp_path: pathlib.Path) -> None:
    for name, algorithm in (("good", "ed25519"), ("other", "ed448")):
        key, public = tmp_path / "key", tmp_path / name
        for command in (
            ["genpkey", "-algorithm", algorithm, "-out", str(key)],
            ["pkey", "-in", str(key), "-pubout", "-out", str(public)],
        ):
            subprocess.run(["openssl", *command], check=True)
    files = {name: f"{tmp_path}/{name}" for name in ("good", "other", "absent")}

    def found(*keys: str, ca: str = "") -> str:
        registries = {"a.example": {"ca": files[ca]}} if ca else {}
        text = {"updates": {"trusted_keys": [files[key] for key in keys]}, "registries": registries}
        chosen = config.parse(json.dumps(text))
        return next(each.text for each in check.run(chosen) if each.name == "files")

    assert found("good") == "those that the configuration names can be used"
    for wrong in ("other", "absent"):
        told = f"{files[wrong]} of updates.trusted_keys is no public key of Ed25519"
        assert found("good", wrong) == told
    assert found(ca="absent") == (
        f"{files['absent']} of registries.a.example.ca has no authority (No such file or directory)"
    )
    assert "of registries.a.example.ca has no authority" in found(ca="good")


def test_what_comes_in_with_a_given_token_is_that_and_no_more(
    device: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("anns\n"))
    server = "https://[fe80::1]:6443"
    command = ["--config", str(device), "kubeconfig", "--token", "-", "--server", server]
    assert cli.main(command) == 0
    output = capsys.readouterr().out
    assert "anns" in output
    assert server in output
    assert "secret" not in output
