"""Names of other objects that a spec mentions, such as a Secret, a claim or a class."""

from typing import Annotated, Final

from pydantic import Field

from llmfleet.api.markers import matches

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DOMAIN: Final = f"{_LABEL}([.]{_LABEL})*"
"""A DNS-1123 subdomain, as a pattern without its ends."""
LABEL_VALUE: Final = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
"""The value of a label, or what follows the domain in a label's key."""

ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matches(
        f"^{DOMAIN}$",
        "must be the name of an object: lower-case letters, digits, '-' and '.', beginning and ending with a letter or "
        "digit",
    ),
]
"""A DNS-1123 subdomain, as the API server wants most names to be."""

DataKey = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matches("^[-._a-zA-Z0-9]+$", "must be a key as in a Secret's data: letters, digits, '-', '_' and '.'"),
]
"""A key of a Secret or ConfigMap."""
