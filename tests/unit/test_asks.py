"""Each ask that concerns this project has a test that shows it (tests/asks.py)."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

from tests import asks

TESTS = pathlib.Path(__file__).parents[1]


def marks(source: str) -> Iterator[ast.Call]:
    """`@pytest.mark.ask(...)` above tests."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[:5] == "test_":
            for each in node.decorator_list:
                if isinstance(each, ast.Call) and ast.unparse(each.func) == "pytest.mark.ask":
                    yield each


def shown() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text()
        for mark in marks(text) if "mark.ask(" in text else ():
            for number in mark.args:
                found.setdefault(ast.literal_eval(number), []).append(path.name)
    return found


def test_each_has_a_test_or_a_reason() -> None:
    found = shown()
    assert set(found) <= set(asks.ASKS)
    assert set(asks.ASKS) - set(found) == set(asks.NOT_OURS)
