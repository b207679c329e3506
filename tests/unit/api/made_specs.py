"""Made-up LLMDeployments: valid ones, made from the schema and its rules, and ones broken in a place or two."""

import copy
import random
import re
import re._parser as sre  # type: ignore[import-not-found]
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from hypothesis import strategies as st

from llmfleet.api.deployment import Spec
from llmfleet.api.engine import TYPED_OPTIONS
from llmfleet.api.schema import VALIDATIONS, schema_of
from llmfleet.api.units import seconds
from tests.api.crd_cases import OUT_OF_BOUNDS, VIOLATIONS

Schema = dict[str, Any]
SCHEMA = schema_of(Spec, "spec")
LETTERS = st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"])
ANYTHING = st.dictionaries(
    st.text(LETTERS, max_size=3), st.none() | st.integers(-9, 9) | st.text(LETTERS, max_size=3), max_size=2
)
_TEXTS = 60
_MATCHES = re.compile(r"^(?:type\(self\) == int \|\| )?self\.matches\(r'(?P<text>.*)'\)$")
_ALL_KEYS = re.compile(r"^self\.all\(k, k\.matches\('(?P<text>.*)'\)\)$")


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that the schema accepts, as far as it says and with the patterns of its rules."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    made: dict[str | None, Callable[[Schema], st.SearchStrategy[Any]]] = {
        "object": objects,
        "array": lists,
        "string": texts,
        "integer": integers,
        "number": numbers,
        "boolean": lambda _: st.booleans(),
        None: lambda schema: integers(schema) | texts(schema),  # int or string
    }
    return made[schema.get("type")](schema)


def objects(schema: Schema) -> st.SearchStrategy[Any]:
    if "additionalProperties" in schema:
        most = min(2, schema["maxProperties"])
        keys = next((_like(found["text"]) for found in _found(_ALL_KEYS, schema)), st.text(LETTERS, max_size=9))
        return st.dictionaries(keys, values(schema["additionalProperties"]), max_size=most)
    if "properties" not in schema:
        return ANYTHING
    required = schema.get("required", [])
    fields = {name: values(field) for name, field in schema["properties"].items()}
    optional = {name: field for name, field in fields.items() if name not in required}
    return st.fixed_dictionaries({name: fields[name] for name in required}, optional=optional)


def lists(schema: Schema) -> st.SearchStrategy[Any]:
    least, keys = schema.get("minItems", 0), schema.get("x-kubernetes-list-map-keys")
    return st.lists(
        values(schema["items"]),
        min_size=least,
        max_size=min(least + 2, schema["maxItems"]),
        unique_by=(lambda item: tuple(item[key] for key in keys)) if keys else None,
    )


def integers(schema: Schema) -> st.SearchStrategy[int]:
    low, high = bounds(schema, -(2**63), 2**63 - 1)
    return st.integers(low + ("exclusiveMinimum" in schema), high - ("exclusiveMaximum" in schema))


def numbers(schema: Schema) -> st.SearchStrategy[float]:
    low, high = bounds(schema, None, None)
    without_low, without_high = "exclusiveMinimum" in schema, "exclusiveMaximum" in schema
    return st.floats(
        low, high, exclude_min=without_low, exclude_max=without_high, allow_nan=False, allow_infinity=False
    )


def bounds(schema: Schema, lowest: int | None, highest: int | None) -> tuple[Any, Any]:
    return schema.get("minimum", lowest), schema.get("maximum", highest)


def texts(schema: Schema) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda moment: f"{moment.isoformat(timespec='seconds')}Z")
    least, most = schema.get("minLength", 0), schema["maxLength"]
    patterns = [found["text"] for found in _found(_MATCHES, schema)] or [schema.get("pattern")]
    if patterns == [None]:
        return st.text(LETTERS, min_size=least, max_size=min(most, least + 20))
    climbing = any(rule["rule"] == "!self.contains('..')" for rule in schema.get(VALIDATIONS, ()))
    return _like(patterns[0]).filter(lambda text: least <= len(text) <= most and not (climbing and ".." in text))


def _found(wanted: re.Pattern[str], schema: Schema) -> Iterator[re.Match[str]]:
    return (found for rule in schema.get(VALIDATIONS, ()) if (found := wanted.match(rule["rule"])))


@cache
def _like(pattern: str) -> st.SearchStrategy[str]:
    """Some texts that match, made once: hypothesis' own from_regex would take most of the time of a test."""
    dice = random.Random(pattern)
    parsed = sre.parse(pattern)
    texts = {_text(parsed, dice) for _ in range(_TEXTS)}
    return st.sampled_from(sorted(texts, key=lambda text: (len(text), text)))


def _text(parsed: Any, dice: random.Random) -> str:
    """One text that a parsed pattern matches."""
    pieces = []
    for operation, argument in parsed:
        match operation:
            case sre.LITERAL:
                pieces.append(chr(argument))
            case sre.IN:
                kind, value = dice.choice(argument)
                pieces.append(chr(dice.randint(*value) if kind is sre.RANGE else value))
            case sre.ANY:
                pieces.append(dice.choice("a-Z9 ."))
            case sre.SUBPATTERN:
                pieces.append(_text(argument[-1], dice))
            case sre.BRANCH:
                pieces.append(_text(dice.choice(argument[1]), dice))
            case sre.MAX_REPEAT:
                least, most, repeated = argument
                count = dice.randint(least, min(most, least + dice.choice((1, 1, 4, 12))))
                pieces.extend(_text(repeated, dice) for _ in range(count))
            case _:
                assert operation is sre.AT, operation
    return "".join(pieces)


def _consistent(spec: Schema) -> Schema:
    """Mend what the rules over several fields would refuse."""
    spec = copy.deepcopy(spec)
    model, engine = spec["model"], spec.get("engine", {})
    if "adapters" in model:
        model["adapters"] = [adapter for adapter in model["adapters"] if adapter["name"] != model.get("name")]
    cache = model.get("cache", {})
    for kind, field, value in (("PVC", "claimName", "claim"), ("Node", "path", "/p")):
        if cache.get("kind") == kind:
            cache.setdefault(field, value)
        else:
            cache.pop(field, None)
    for variable in engine.get("env", []):
        if "value" not in variable:
            variable["valueFrom"] = {"secretKeyRef": {"name": "hf", "key": "token"}}
        else:
            variable.pop("valueFrom", None)
    options = tuple(f"-{option}" for option in "abcdefghijklmnopqrstuvwxyz-")
    engine["args"] = [given for given in engine.get("args", []) if not given.startswith(options)]
    gpu = spec.get("resources", {}).get("gpu", {})
    if gpu.get("count"):
        gpu["count"] = engine.get("tensorParallelSize", 1) * engine.get("pipelineParallelSize", 1)
        if gpu["count"] > 64:
            del gpu["count"]
    if seconds(spec.get("startup", {}).get("deadline", "30m")) < 1:
        spec["startup"]["deadline"] = "1s"
    if "maxUnavailable" in spec.get("disruption", {}):
        spec["disruption"].pop("minAvailable", None)
    return spec


SPECS = values(SCHEMA).map(_consistent)
"""Valid specs."""

_ODD: list[Any] = [
    None, True, 0, -1, 1, 65, 1001, 2**31, 2**53 + 1, 0.5, -0.5, 1.5, "", " ", "0", "5", "0s", "500ms", "1x", "101%",
    "..", "Ä", "a\n", "\n", "-", "a" * 54, "a" * 254, "a" * 5000, "hf://o/../r", "s3://b/k", "llmfleet.dev/x", "PVC",
    [], [None], [""], {}, {"a": 1}, {"": ""}, {"a": "b c"}, {"llmfleet.dev/x": "y"}, {"kind": "Node"}, {"name": "A"},
]  # fmt: skip
_VIOLATIONS = [changes for _, _, changes in (*VIOLATIONS, *OUT_OF_BOUNDS)]
_ARGUMENTS = [f"--{option}{tail}" for option in TYPED_OPTIONS for tail in ("", "=1", ".x=1", "s=1")]
_ARGUMENTS += ["--port=1", "--config", "-tp", "--shutdown_timeout", "--host\n", "--model=a\nb", "-O3", "--", "-1"]
_ARGUMENTS += ["--api-key=k", "--api_k", "--hf-token", "--hf-config-path=/c", "--ssl-keyfile", "--ssl=1", "-qfp8"]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container with every key or index of it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


@st.composite
def _broken(draw: st.DrawFn) -> Schema:
    """A spec with one to three things in it that somebody may have written by mistake."""
    spec: Schema = copy.deepcopy(draw(SPECS))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(spec))
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(["odd", "odd", "odd", "missing", "twice", "unknown", "edited", "argument"])):
            case "odd":
                container[key] = copy.deepcopy(draw(st.sampled_from(_ODD)))
            case "missing":
                del container[key]
            case "twice" if isinstance(container, list):
                container.append(copy.deepcopy(container[key]))
            case "unknown" if isinstance(container[key], dict):
                container[key]["unknown"] = 1
            case "edited" if isinstance(container[key], str):
                container[key] += draw(st.sampled_from([" ", "\n", "/", ".", "-", "..", "@", "ä"]))
            case "argument" if isinstance(spec.get("engine"), dict):
                spec["engine"]["args"] = [draw(st.sampled_from(_ARGUMENTS))]
            case _:
                container[key] = draw(st.sampled_from([{}, "", 0]))
    return spec


NAMES = st.sampled_from(["chat", "a", "a-1", "a" * 50]) | st.sampled_from(["a" * 51, "1a", "a.b", "A", "a-", "-a", "ä"])


@st.composite
def _violating(draw: st.DrawFn) -> Schema:
    """A valid spec with one thing in it that breaks one rule."""
    spec: Schema = copy.deepcopy(draw(SPECS))
    for place, value in draw(st.sampled_from(_VIOLATIONS)).items():
        *parents, last = place.split(".")
        inner = spec
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = copy.deepcopy(value)
    return spec


@st.composite
def _manifest(draw: st.DrawFn) -> Schema:
    spec = draw(st.one_of(SPECS, _broken(), _violating()))
    name = draw(st.one_of(st.just("chat"), st.just("chat"), st.just("chat"), NAMES))
    return {"apiVersion": "llmfleet.dev/v1alpha1", "kind": "LLMDeployment", "metadata": {"name": name}, "spec": spec}


MANIFESTS = _manifest()
"""LLMDeployments, about as many valid as broken."""


def as_stored(value: Any, schema: Schema = SCHEMA) -> Any:
    """Drop fields of structs and entries of maps that are null, as the API server does before it judges an object."""
    if isinstance(value, list) and "items" in schema:
        return [as_stored(item, schema["items"]) for item in value]
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        return {
            key: as_stored(inner, known.get(key, {}))
            for key, inner in value.items()
            if inner is not None or key not in known
        }
    if isinstance(value, dict) and "additionalProperties" in schema:
        entries = schema["additionalProperties"]
        return {key: as_stored(inner, entries) for key, inner in value.items() if inner is not None}
    return value
