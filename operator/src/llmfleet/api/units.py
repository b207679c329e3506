"""Durations and quantities as users write them, and their canonical form.

Server-side apply hands quantities back in canonical form. Objects are written in that form from the start, so that
comparing what we applied with what is stored needs no knowledge of the schema.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Final

from pydantic import StringConstraints

from llmfleet.api.markers import int_or_string, matches, text_matches

DURATION_PATTERN: Final = r"^([0-9]{1,3}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?([0-9]{1,6}ms)?$"
QUANTITY_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
PERCENT_PATTERN: Final = r"^(100|[1-9]?[0-9])%$"
_LARGEST: Final = 2**53
"""Larger integers lose digits in JSON readers that know floating point only."""

Duration = Annotated[
    str,
    StringConstraints(min_length=2, max_length=20),
    matches(DURATION_PATTERN, "must be a time such as 90s, 10m or 1h30m"),
]
"""A span of time such as 5s, 10m or 1h30m; at most some weeks, so that no sum of them overflows anything."""

Quantity = Annotated[
    int | str,
    int_or_string(max_length=24, minimum=0, maximum=_LARGEST),
    text_matches(QUANTITY_PATTERN, "must be an amount such as 8, 500m or 64Gi"),
]
"""An amount of a resource as Kubernetes writes it, such as 8, 500m or 64Gi."""

Memory = Annotated[
    int | str,
    int_or_string(max_length=24, minimum=0, maximum=_LARGEST),
    text_matches(QUANTITY_PATTERN, "must be an amount of memory such as 64Gi or 512Mi"),
]
"""A quantity of bytes."""

IntOrPercent = Annotated[
    int | str,
    int_or_string(max_length=4, minimum=0, maximum=2**31 - 1),
    text_matches(PERCENT_PATTERN, "must be a number such as 1, or a share such as 25%"),
]
"""A number of pods, or a share of them such as 25%."""

_YEARS = range(1970, 9999)
"""Outside of them a moment plus a duration, or in another time zone, may be no moment any more."""
_DURATION_PART = re.compile(r"([0-9]+)(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DECIMAL_SUFFIXES = {"m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_SUFFIXES = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([a-zA-Z]*)")


def seconds(duration: str) -> float:
    """Return a duration such as ``1h30m`` in seconds."""
    return sum(int(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(duration))


def canonical_quantity(quantity: int | str) -> str:
    """Return a quantity as the API server stores it: no fraction, and the largest suffix that keeps it whole.

    Follows k8s.io/apimachinery resource.Quantity: ``1000m`` is ``1``, ``0.5`` is ``500m``, ``2048Mi`` is ``2Gi``.

    Raises:
        ValueError: The text is no quantity.
    """
    match = _QUANTITY.fullmatch(str(quantity))
    if match is None or (match[2] not in _DECIMAL_SUFFIXES and match[2] not in _BINARY_SUFFIXES):
        raise ValueError(f"{quantity!r} is not a quantity such as 8, 500m or 64Gi")
    number, suffix = Decimal(match[1]), match[2]
    if suffix in _BINARY_SUFFIXES:
        size = number * 1024 ** _BINARY_SUFFIXES[suffix]
        if size == int(size) and (size >= 1024 or size == 0):  # noqa: PLR2004 - below 1Ki only decimals are canonical
            return _largest(int(size), {"": 0, **_BINARY_SUFFIXES}, 1024)
        number, suffix = size, ""
    thousandths = number * Decimal(1000) ** (_DECIMAL_SUFFIXES[suffix] // 3 + 1)
    return _largest(int(thousandths.to_integral_value(rounding="ROUND_CEILING")), _THOUSANDTHS, 1000)


_THOUSANDTHS = {suffix: exponent // 3 + 1 for suffix, exponent in _DECIMAL_SUFFIXES.items()}


def _largest(amount: int, suffixes: dict[str, int], base: int) -> str:
    if amount == 0:
        return "0"
    fitting = [(power, suffix) for suffix, power in suffixes.items() if amount % base**power == 0]
    power, suffix = max(fitting)
    return f"{amount // base**power}{suffix}"


def timestamp(moment: datetime) -> str:
    """Return a moment as Kubernetes writes it: RFC 3339 in UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime | None:
    """Return the moment that an RFC 3339 text names.

    None for what is no such moment, is out of all time, or has no time zone: these texts lie where people can write, in
    annotations and statuses, and what they wrote must not stop anything.
    """
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return read if read.tzinfo is not None and read.year in _YEARS else None
