"""What a string or number must look like: checks that give back reasons, empty when all is well.

Rules and wording of apimachinery's util/validation. Callers put the field's path before them.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = _LABEL + r"(\." + _LABEL + ")*"
_LABEL_UNDERSCORE = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_UNDERSCORE = _LABEL_UNDERSCORE + r"(\." + _LABEL_UNDERSCORE + ")*"
_DNS1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = "(" + _KEY + ")?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_HEADER = "[-A-Za-z0-9]+"
_PERCENT = "[0-9]+%"

_MUST_KEY = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an"
    " alphanumeric character"
)
_IS_KEY = f"a valid label key {_MUST_KEY}"
_IS_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or"
    " '.', and must start and end with an alphanumeric character"
)

MAX_ID = 2**31 - 1


def at_most(length: int) -> str:
    return f"must be no more than {length} characters"


def between(low: int, high: int) -> str:
    return f"must be between {low} and {high}, inclusive"


def _regex(told: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{told} (e.g. {shown}regex used for validation is '{pattern}')"


def _fits(pattern: str, value: str) -> bool:
    return re.fullmatch(pattern, value) is not None


def dns1123_label(value: str) -> list[str]:
    found = [at_most(63)] if len(value) > 63 else []
    if not _fits(_LABEL, value):
        if _fits(_SUBDOMAIN, value):
            found.append("must not contain dots")
        else:
            told = (
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or"
                " '-', and must start and end with an alphanumeric character"
            )
            found.append(_regex(told, _LABEL, "my-name", "123-abc"))
    return found


def dns1123_subdomain(value: str) -> list[str]:
    found = [at_most(253)] if len(value) > 253 else []
    if not _fits(_SUBDOMAIN, value):
        found.append(_regex(_IS_SUBDOMAIN, _SUBDOMAIN, "example.com"))
    return found


def wildcard_subdomain(value: str) -> list[str]:
    """`*.` and a subdomain."""
    if _fits(r"\*\." + _SUBDOMAIN, value):
        return []
    told = (
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain,"
        " which must consist of lower case alphanumeric characters, '-' or '.' and end with an"
        " alphanumeric character"
    )
    return [_regex(told, r"\*\." + _SUBDOMAIN, "*.example.com")]


def dns_search(value: str) -> list[str]:
    """A subdomain that may hold underscores."""
    found = [at_most(253)] if len(value) > 253 else []
    if not _fits(_SUBDOMAIN_UNDERSCORE, value):
        told = _IS_SUBDOMAIN.replace("characters, '-'", "characters, '_', '-'")
        found.append(_regex(told, _SUBDOMAIN_UNDERSCORE, "example.com"))
    return found


def dns1035_label(value: str) -> list[str]:
    found = [at_most(63)] if len(value) > 63 else []
    if not _fits(_DNS1035, value):
        told = (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start"
            " with an alphabetic character, and end with an alphanumeric character"
        )
        found.append(_regex(told, _DNS1035, "my-name", "abc-123"))
    return found


def qualified_name(value: str) -> list[str]:
    """A label or annotation key: [DNS subdomain/]name."""
    parts = value.split("/")
    found: list[str] = []
    if len(parts) > 2:
        told = _regex(_IS_KEY, _KEY, "MyName", "my.name", "123-abc")
        hint = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [told + hint]
    if len(parts) == 2:
        if not parts[0]:
            found.append("prefix part must be non-empty")
        else:
            found += [f"prefix part {why}" for why in dns1123_subdomain(parts[0])]
    name = parts[-1]
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > 63:
        found.append(f"name part {at_most(63)}")
    if not _fits(_KEY, name):
        found.append("name part " + _regex(_MUST_KEY, _KEY, "MyName", "my.name", "123-abc"))
    return found


def label_value(value: str) -> list[str]:
    found = [at_most(63)] if len(value) > 63 else []
    if not _fits(_VALUE, value):
        told = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_'"
            " or '.', and must start and end with an alphanumeric character"
        )
        found.append(_regex(told, _VALUE, "MyValue", "my_value", "12345"))
    return found


def config_key(value: str) -> list[str]:
    found = [at_most(253)] if len(value) > 253 else []
    if not _fits(_CONFIG_KEY, value):
        told = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        found.append(_regex(told, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    if value in (".", ".."):
        found.append(f"must not be '{value}'")
    elif value.startswith(".."):
        found.append("must not start with '..'")
    return found


def env_name(value: str) -> list[str]:
    """The rule of Kubernetes 1.32 and later: printable ASCII without `=`."""
    if not value:
        return ["environment variable name must be non-empty"]
    if any(not " " <= char <= "~" or char == "=" for char in value):
        told = "a valid environment variable name must consist only of printable ASCII characters"
        return [f"{told} other than '='"]
    return []


def http_header(value: str) -> list[str]:
    if _fits(_HEADER, value):
        return []
    told = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [_regex(told, _HEADER, "X-Header-Name")]


def percent(value: str) -> list[str]:
    if _fits(_PERCENT, value):
        return []
    told = "a valid percent string must be a numeric string followed by an ending '%'"
    return [_regex(told, _PERCENT, "1%", "93%")]


def port(value: int) -> list[str]:
    return [] if 1 <= value <= 65535 else [between(1, 65535)]


def port_name(value: str) -> list[str]:
    found = [at_most(15)] if len(value) > 15 else []
    if not _fits("[-a-z0-9]+", value):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        found.append("must contain at least one letter (a-z)")
    if "--" in value:
        found.append("must not contain consecutive hyphens")
    if value and "-" in (value[0], value[-1]):
        found.append("must not begin or end with a hyphen")
    return found


def port_or_name(value: Any) -> list[str]:
    return port(value) if isinstance(value, int) else port_name(value)


def user_or_group(value: int) -> list[str]:
    return [] if 0 <= value <= MAX_ID else [between(0, MAX_ID)]


def path_segment(value: str) -> list[str]:
    """What an object's name must keep to, whatever its kind: it stands in a URL."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in value]


def ip(value: str) -> list[str]:
    if parse_ip(value) is None:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return []


def cidr(value: str) -> list[str]:
    try:
        ipaddress.ip_interface(value)
    except ValueError:
        valid = False
    else:
        valid = "/" in value
    return [] if valid else ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]


def parse_ip(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        return None


def ordinary_ip(value: str) -> list[str]:
    """Addresses that make no sense for an endpoint."""
    address = parse_ip(value)
    if address is None:
        return ["must be a valid IP address"]
    found = []
    if address.is_unspecified:
        found.append(f"may not be unspecified ({value})")
    if address.is_loopback:
        found.append("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        found.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    multicast = "ff02::/16" if address.version == 6 else "224.0.0.0/24"
    if address in ipaddress.ip_network(multicast):
        found.append("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    return found


def no_backsteps(value: str) -> list[str]:
    return ["must not contain '..'"] if ".." in value.split("/") else []


def descending_path(value: str) -> list[str]:
    found = ["must be a relative path"] if value.startswith("/") else []
    return found + no_backsteps(value)


def non_reserved_path(value: str) -> list[str]:
    found = descending_path(value)
    if value.startswith("..") and not value.startswith("../"):
        found.append("must not start with '..'")
    return found
