"""docs/reference/settings.md: the settings of the operator's process, and the chart's values that give them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from pydantic.fields import FieldInfo

from llmfleet.control.settings import Settings
from tests.generate.chart import CHART

_HEAD = """<!-- Generated from llmfleet.control.settings by "make generate": change that, not this file. -->

# Settings of the operator

Flags of `llmfleet run`, or environment variables; a flag wins. A list is JSON in a variable (`["team-a", "team-b"]`)
and a repeated flag on the command line. Of the chart's values, `extraEnv` gives what has none of its own.

| Flag | Variable | Default | Chart | Meaning |
|---|---|---|---|---|
"""
_VARIABLE = re.compile(r"- name: (LLMFLEET_[A-Z_]+)\n +value: (.*)")
_VALUES = re.compile(r"\.Values\.([A-Za-z.]+)")


def page() -> dict[PurePosixPath, str]:
    """Return the page by its path."""
    return {PurePosixPath("docs/reference/settings.md"): _HEAD + "".join(_rows())}


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"{Settings.model_config['env_prefix']}{name.upper()}"


def chart_values() -> dict[str, str]:
    """Return which of the chart's values gives each variable; empty for one that the chart works out."""
    text = (CHART / "templates" / "deployment.yaml").read_text()
    given = {}
    for found in _VARIABLE.finditer(text):
        named = _VALUES.search(found[2])
        if named is None and re.search(r"\{\{[- ]*(toJson )?\. ", found[2]):
            *_, named = _VALUES.finditer(text, 0, found.start())
        given[found[1]] = named[1] if named else ""
    return given


def _rows() -> Iterator[str]:
    given = chart_values()
    for name, field in Settings.model_fields.items():
        value = given.get(variable(name))
        shown = "" if value is None else f"`{value}`" if value else "set by it"
        cells = (f"`--{name.replace('_', '-')}`", f"`{variable(name)}`", _default(field), shown, _meaning(field))
        yield f"| {' | '.join(cells)} |\n"


def _default(field: FieldInfo) -> str:
    default: Any = field.default
    if default is None or default == ():
        return ""
    return f"`{default if isinstance(default, str | Path) else json.dumps(default)}`"


def _meaning(field: FieldInfo) -> str:
    choices = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
    allowed = f" One of {', '.join(choices)}." if choices else ""
    low, high = (next((getattr(m, end) for m in field.metadata if hasattr(m, end)), None) for end in ("ge", "le"))
    bounds = f" {low} to {high}." if low is not None and high is not None else ""
    return f"{field.description}{allowed}{bounds}"
