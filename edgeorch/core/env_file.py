"""A file of variables that a container has left in a volume for others (KEP-3721).

One `NAME=value` a line; blank lines and `#` comments do not count. A value in single quotes is
taken as it stands and may go on over lines; a backslash at the end of any other joins the next.
"""

from __future__ import annotations


def value_of(text: str, name: str) -> str | None:
    """The last value of that name."""
    found = None
    lines = iter(text.split("\n"))
    for line in lines:
        key, equals, value = line.strip().partition("=")
        if not equals or key.startswith("#"):
            continue
        value = value.strip()
        if value.startswith("'"):
            value = value[1:]
            while "'" not in value and (more := next(lines, None)) is not None:
                value += f"\n{more}"
            value = value.partition("'")[0]
        else:
            while value.endswith("\\") and (more := next(lines, None)) is not None:
                value = value[:-1].rstrip() + more.strip()
        if key.rstrip() == name:
            found = value
    return found
