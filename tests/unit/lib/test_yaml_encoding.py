"""What is written as YAML is read back as the same values."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from edgeorch.lib import yaml

_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Co", "Cn")))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)


@hypothesis.given(_VALUES)
def test_every_value_survives(value: Any) -> None:
    assert yaml.decode(yaml.encode(value))[0] == value


@pytest.mark.parametrize("text", ["y", "no", "1e3", "0o17", "1_000", "~", ".inf", "<<", "a\nb\n"])
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    assert yaml.decode(yaml.encode({text: text}))[0] == {text: text}
