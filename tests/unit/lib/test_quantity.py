"""Quantities parse, compare and render as apimachinery's resource.Quantity does."""

from __future__ import annotations

import fractions

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.lib import quantity

CANONICAL = [
    ("0.5", "500m"), ("0.1", "100m"), ("1000m", "1"), ("1500m", "1500m"), ("1.5", "1500m"),
    ("3.0", "3"), ("5000", "5k"), ("1000k", "1M"), ("1024", "1024"), ("128974848", "128974848"),
    ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("1000Mi", "1000Mi"), ("0.5Ki", "512"),
    ("1048576Ki", "1Gi"), ("64Mi", "64Mi"), ("1Ki", "1Ki"), ("8Gi", "8Gi"), ("0.5Mi", "512Ki"),
    ("129e6", "129e6"), ("1e3", "1e3"), ("1000e3", "1e6"), ("0", "0"), ("0Gi", "0"), ("0m", "0"),
    ("0.1n", "1n"), ("-0.5", "-500m"), ("-1024Mi", "-1Gi"), (".5", "500m"), ("1E", "1E"),
    ("9223372036854775807", "9223372036854775807"), ("16Ei", "9223372036854775807"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "kept"), CANONICAL, ids=[w for w, _ in CANONICAL])
def test_the_canonical_form(written: str, kept: str) -> None:
    assert quantity.canonical(written) == kept


@pytest.mark.parametrize("text", ["", "abc", "1.2.3", "1 Gi", "0x10", "1Gi ", "1,5"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(
        quantity.QuantityError, match="quantities must match the regular expression"
    ):
        quantity.parse(text)


@pytest.mark.parametrize(
    "text", ["Gi1", "--1", "1gi", "1KI", "1mm", "1iK", "1e", "1e99999999", "1Kk"]
)
def test_an_unknown_suffix_is_refused(text: str) -> None:
    with pytest.raises(quantity.QuantityError):
        quantity.parse(text)


@pytest.mark.parametrize(
    ("left", "right", "total"),
    [("100m", "0.4", "500m"), ("1Gi", "1024Mi", "2Gi"), ("0", "1Mi", "1Mi"), ("1", "1Ki", "1025")],
)
def test_sums_keep_the_first_family(left: str, right: str, total: str) -> None:
    assert str(quantity.parse(left) + quantity.parse(right)) == total


def test_whole_units_round_up() -> None:
    assert (quantity.parse("1001m").value(), quantity.parse("100u").milli()) == (2, 1)


AMOUNTS = st.builds(
    lambda sign, whole, places, suffix: f"{sign}{whole}{places}{suffix}",
    st.sampled_from(["", "-", "+"]),
    st.integers(0, 10**12),
    st.one_of(st.just(""), st.integers(0, 999999).map(lambda digits: f".{digits}")),
    st.sampled_from(["", "n", "u", "m", "k", "M", "Ki", "Mi", "Gi", "e3", "E2", "e-3"]),
)


@given(AMOUNTS)
def test_the_canonical_form_is_stable_and_keeps_the_amount(text: str) -> None:
    first = quantity.parse(text)
    again = quantity.parse(str(first))
    assert (again.nano, str(again)) == (first.nano, str(first))


@given(st.integers(-(10**15), 10**15), st.sampled_from(["", "m", "k", "Ki", "Gi"]))
def test_amounts_are_exact(number: int, suffix: str) -> None:
    written = {"": 1, "k": 1000, "Ki": 1024, "Gi": 1024**3}.get(suffix)
    factor = fractions.Fraction(written) if written else fractions.Fraction(1, 1000)
    amount = quantity.parse(f"{number}{suffix}").nano
    expected = number * factor * quantity.NANO
    largest = fractions.Fraction((2**63 - 1) * quantity.NANO)
    capped = min(expected, largest) if suffix.endswith("i") else expected
    assert fractions.Fraction(amount) == (capped if number > 0 else amount)
    if number <= 0 and abs(expected) < 2**63 * quantity.NANO:
        assert amount == expected


@given(AMOUNTS, AMOUNTS)
def test_order_follows_the_amounts(left: str, right: str) -> None:
    a, b = quantity.parse(left), quantity.parse(right)
    assert (a < b) == (a.nano < b.nano)
    assert (a + b).nano == a.nano + b.nano
    assert ((a + b) - b).nano == a.nano


@given(st.text(max_size=12))
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    try:
        quantity.parse(text)
    except quantity.QuantityError:
        return
    assert quantity.canonical(text)
