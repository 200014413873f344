"""Which hosts are asked for an image, and through which proxy."""

from __future__ import annotations

import pytest

from edgeorch import config
from edgeorch.registry import connection, hosts, proxies
from edgeorch.registry.auth import Credential


def _serving(domain: str, text: str) -> list[hosts.Host]:
    return hosts.serving(domain, config.parse(text).registries)


@pytest.mark.parametrize(
    ("domain", "base"),
    [
        ("docker.io", "https://registry-1.docker.io/v2"),
        ("reg.example:5000", "https://reg.example:5000/v2"),
        ("localhost:5000", "http://localhost:5000/v2"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000/v2"),
        ("[::1]:5000", "http://[::1]:5000/v2"),
        ("127.example.com", "https://127.example.com/v2"),
    ],
)
def test_only_the_machine_itself_is_asked_in_plain_text(domain: str, base: str) -> None:
    assert [host.base for host in hosts.serving(domain, {})] == [base]


def test_mirrors_come_first_and_the_origin_last() -> None:
    text = """
    registries:
      docker.io: {mirrors: [m1.example, "http://m2.example:5000/cache", "https://h/v2/hub/"]}
      m1.example: {plain_http: true, username: u, password: p}
      h: {ca: /etc/ca.pem, insecure_skip_verify: true}
    """
    found = _serving("docker.io", text)
    assert [host.base for host in found] == [
        "http://m1.example/v2",
        "http://m2.example:5000/cache/v2",
        "https://h/v2/hub",
        "https://registry-1.docker.io/v2",
    ]
    assert [host.mirror_of for host in found] == ["docker.io"] * 3 + [""]
    assert [host.credential for host in found] == [Credential("u", "p"), None, None, None]
    assert (found[2].ca, found[2].verify) == ("/etc/ca.pem", False)
    assert (found[3].ca, found[3].verify) == ("", True)


def test_what_is_said_for_all_holds_for_those_without_an_entry() -> None:
    text = "registries: {'*': {mirrors: [m]}, own.example: {plain_http: true}}"
    assert [host.name for host in _serving("reg.example", text)] == ["m", "reg.example"]
    assert [host.base for host in _serving("own.example", text)] == ["http://own.example/v2"]


@pytest.mark.parametrize(
    ("scheme", "host", "environ", "expected"),
    [
        ("https", "a.example", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https", "a.example", {"https_proxy": "p:1"}, "http://p:1"),
        ("https", "a.example", {"HTTP_PROXY": "http://p:1"}, None),
        ("http", "a.example", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("http", "localhost", {"HTTP_PROXY": "http://p:1"}, None),
        ("http", "127.0.0.1", {"HTTP_PROXY": "http://p:1"}, None),
        ("http", "a.example", {"HTTP_PROXY": "p", "NO_PROXY": "b.example, example"}, None),
        ("http", "a.example", {"HTTP_PROXY": "http://p", "NO_PROXY": "ample"}, "http://p"),
        ("http", "a.example", {"HTTP_PROXY": "p", "no_proxy": ".example"}, None),
        ("http", "example", {"HTTP_PROXY": "http://p", "no_proxy": ".example"}, "http://p"),
        ("http", "a.example", {"HTTP_PROXY": "p", "NO_PROXY": "*.example"}, None),
        ("http", "10.1.2.3", {"HTTP_PROXY": "p", "NO_PROXY": "10.0.0.0/8"}, None),
        ("http", "11.1.2.3", {"HTTP_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8"}, "http://p"),
        ("http", "a.example", {"HTTP_PROXY": "p", "NO_PROXY": "a.example:80"}, None),
        ("http", "a.example", {"HTTP_PROXY": "http://p", "NO_PROXY": "a.example:81"}, "http://p"),
        ("http", "a.example", {"HTTP_PROXY": "p", "NO_PROXY": "*"}, None),
        ("http", "fd00::1", {"HTTP_PROXY": "p", "NO_PROXY": "fd00::/8"}, None),
    ],
)
def test_proxies(scheme: str, host: str, environ: dict[str, str], expected: str | None) -> None:
    assert proxies.choose(scheme, host, None, environ) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7.0),
        (" 120 ", 120.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("-3", 0.0),
    ],
)
def test_retry_after(text: str, expected: float) -> None:
    assert connection.retry_after(text, now=10.0) == expected
