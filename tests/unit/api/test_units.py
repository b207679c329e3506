from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmfleet.api.units import canonical_quantity, seconds

FACTOR = {"m": Decimal("0.001"), "": Decimal(1), "k": Decimal(10) ** 3, "M": Decimal(10) ** 6, "G": Decimal(10) ** 9}
FACTOR |= {"T": Decimal(10) ** 12, "P": Decimal(10) ** 15, "E": Decimal(10) ** 18}
FACTOR |= {f"{p}i": Decimal(1024) ** n for n, p in enumerate("KMGTPE", 1)}


def value(quantity: str) -> Decimal:
    number = quantity.rstrip("mkKMGTPEi")
    return Decimal(number) * FACTOR[quantity[len(number) :]]


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("1000m", "1"),
        ("0.5", "500m"),
        ("2048Mi", "2Gi"),
        ("1.5Gi", "1536Mi"),
        (8, "8"),
        ("1000", "1k"),
        ("0", "0"),
        ("0.5Ki", "512"),
    ],
)
def test_quantities_are_written_as_the_api_server_stores_them(written: str, stored: str) -> None:
    assert canonical_quantity(written) == stored


@given(number=st.integers(0, 10**6), suffix=st.sampled_from(sorted(FACTOR)))
def test_the_canonical_form_means_the_same_and_is_its_own_canonical_form(number: int, suffix: str) -> None:
    canonical = canonical_quantity(f"{number}{suffix}")
    assert value(canonical) == value(f"{number}{suffix}")
    assert canonical_quantity(canonical) == canonical


def test_nonsense_is_no_quantity() -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        canonical_quantity("12 apples")


@pytest.mark.parametrize(
    ("text", "total"), [("5s", 5), ("10m", 600), ("1h30m", 5400), ("250ms", 0.25), ("1h1m1s1ms", 3661.001)]
)
def test_durations(text: str, total: float) -> None:
    assert seconds(text) == pytest.approx(total)
