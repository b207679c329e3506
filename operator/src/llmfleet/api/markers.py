"""Markers: what a model tells the CRD generator beyond what pydantic itself knows.

Field markers are `Annotated` metadata. What a marker lets the API server refuse, the model refuses as well: a rule has
its CEL expression and the same as a Python predicate, and a test compares the verdicts of the two over thousands of
objects. So whoever has only the models (the operator, a check of manifests in Git) judges as the API server does.

    class Container(BaseModel):
        '''A container of the pod.'''
        env: Annotated[list[EnvVar], list_map("name"), Field(max_length=64, description="Environment.")] = []
        name: Annotated[str, matches("^[a-z]+$", "must be small letters"), Field(max_length=63, description="Name.")]

Rules over several fields of one struct stand on the class with `@rules(cel(...), ...)`; `crd.py` reads them and
`part.Part` applies them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_snake
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from llmfleet.api.patterns import compiled

ModelT = TypeVar("ModelT", bound=BaseModel)
Reason = Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate"]
ColumnType = Literal["string", "integer", "number", "boolean", "date"]
ColumnFormat = Literal["int32", "int64", "float", "double", "byte", "date", "date-time", "password"]

_DEFAULT_REASON: Reason = "FieldValueInvalid"
_RULES_ATTRIBUTE = "__kubernetes_rules__"


@dataclass(frozen=True, slots=True)
class Rule:
    """One validation rule in CEL, evaluated by the API server with `self` bound to the value it stands on."""

    rule: str
    message: str
    holds: Callable[[Any], bool] | None = None
    field_path: str | None = None
    reason: Reason = _DEFAULT_REASON

    def check(self, value: Any) -> Any:
        """Return a value for which the rule holds; what is absent is not judged.

        Raises:
            PydanticCustomError: It does not hold; the text names the field, where the rule does, and the remedy.
        """
        if value is None or self.holds is None or self.holds(value):
            return value
        said = f"{self.field_path.lstrip('.')}: {self.message}" if self.field_path else self.message
        raise PydanticCustomError("rule", "{said}", {"said": said})

    def as_schema(self) -> dict[str, str]:
        """Return one item of x-kubernetes-validations."""
        item = {"rule": self.rule, "message": self.message}
        if self.field_path is not None:
            item["fieldPath"] = self.field_path
        if self.reason != _DEFAULT_REASON:
            item["reason"] = self.reason
        return item

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        schema["x-kubernetes-validations"] = [*schema.get("x-kubernetes-validations", []), self.as_schema()]
        return schema


def cel(
    rule: str,
    message: str,
    holds: Callable[[Any], bool] | None = None,
    *,
    field_path: str | None = None,
    reason: Reason = _DEFAULT_REASON,
) -> Rule:
    """Mark a field, or with `@rules` a struct, with a CEL rule.

    Args:
        rule: the expression; true means valid. `self` is the field's value or the struct. A rule that mentions
            `oldSelf` runs on updates only.
        message: what the user reads, one line: what is wrong and what to write instead.
        holds: the same in Python, of the field's value or of the struct; None for what Python cannot tell (`oldSelf`).
        field_path: for rules on structs, the field the error points at, relative to the struct, e.g. `.maxReplicas`.
        reason: the machine-readable cause in the API server's answer.
    """
    return Rule(rule=rule, message=message, holds=holds, field_path=field_path, reason=reason)


def matches(pattern: str, message: str) -> Rule:
    """Mark a string with a pattern.

    A rule, unlike the schema's own keyword, answers with a sentence and not with the pattern. Rules are not evaluated
    while the object breaks the schema elsewhere.
    """
    found = compiled(pattern).search
    return cel(f"self.matches(r'{pattern}')", message, lambda text: found(text) is not None)


def rules(*added: Rule) -> Callable[[type[ModelT]], type[ModelT]]:
    """Class decorator: attach CEL rules to a struct, after those it inherits."""

    def attach(model: type[ModelT]) -> type[ModelT]:
        setattr(model, _RULES_ATTRIBUTE, (*rules_of(model), *added))
        return model

    return attach


def rules_of(model: type[BaseModel]) -> tuple[Rule, ...]:
    """Return the rules that `@rules` attached to a model and to its bases, the bases' first."""
    attached: tuple[Rule, ...] = getattr(model, _RULES_ATTRIBUTE, ())
    return attached


@dataclass(frozen=True, slots=True)
class Keywords:
    """Schema keywords set on a field as they are."""

    items: tuple[tuple[str, object], ...]

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        schema.update({key: list(value) if isinstance(value, tuple) else value for key, value in self.items})
        return schema


@dataclass(frozen=True, slots=True)
class ListMap:
    """A list whose items are told apart by key fields."""

    keys: tuple[str, ...]

    def check(self, items: Iterable[BaseModel]) -> Iterable[BaseModel]:
        """Return a list in which no two items have equal keys.

        Raises:
            PydanticCustomError: Two have; the text names the key.
        """
        seen, fields = set(), [to_snake(key) for key in self.keys]
        for number, item in enumerate(items):
            key = tuple(getattr(item, field) for field in fields)
            if key in seen:
                said = ", ".join(f"{name} {value!r}" for name, value in zip(self.keys, key, strict=True))
                raise PydanticCustomError(
                    "duplicate",
                    "item {number} has the {said} of another one: remove one",
                    {"number": number, "said": said},
                )
            seen.add(key)
        return items

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(self.keys)}
        return schema


def list_map(*keys: str) -> ListMap:
    """Mark a list of structs as a map under the given (camelCase) key fields: appliers own its items one by one."""
    return ListMap(keys)


def list_set() -> Keywords:
    """Mark a list of scalars as a set: no item twice, appliers own its items one by one."""
    return Keywords((("x-kubernetes-list-type", "set"),))


def list_atomic() -> Keywords:
    """Mark a list as one value: an applier owns and replaces it whole."""
    return Keywords((("x-kubernetes-list-type", "atomic"),))


def map_atomic() -> Keywords:
    """Mark a map or struct as one value: an applier owns and replaces it whole."""
    return Keywords((("x-kubernetes-map-type", "atomic"),))


def preserve_unknown() -> Keywords:
    """Mark a `dict[str, Any]` as opaque: the API server stores whatever is in it, unpruned and unchecked."""
    return Keywords((("x-kubernetes-preserve-unknown-fields", True),))


@dataclass(frozen=True, slots=True)
class IntOrString:
    """A value written as an integer or as a string, such as a quantity; replaces what pydantic says of the type."""

    max_length: int
    minimum: int | None
    maximum: int | None

    def check(self, value: Any) -> Any:
        """Return a value within the bounds.

        Raises:
            PydanticCustomError: It is not; the text names the bound.
        """
        if isinstance(value, str) and len(value) > self.max_length:
            raise PydanticCustomError("bounds", "may not be longer than {most}", {"most": self.max_length})
        if isinstance(value, int) and self.minimum is not None and value < self.minimum:
            raise PydanticCustomError("bounds", "must be at least {least}", {"least": self.minimum})
        if isinstance(value, int) and self.maximum is not None and value > self.maximum:
            raise PydanticCustomError("bounds", "must be at most {most}", {"most": self.maximum})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        del core_schema, handler  # the Python type may be a custom one that has no JSON schema at all
        schema: JsonSchemaValue = {"x-kubernetes-int-or-string": True, "maxLength": self.max_length}
        bounds = {"minimum": self.minimum, "maximum": self.maximum}
        return {**schema, **{keyword: bound for keyword, bound in bounds.items() if bound is not None}}


def int_or_string(*, max_length: int, minimum: int | None = None, maximum: int | None = None) -> IntOrString:
    """Mark a field as integer or string; `max_length` binds the string form, the other two the integer."""
    return IntOrString(max_length=max_length, minimum=minimum, maximum=maximum)


def text_matches(pattern: str, message: str) -> Rule:
    """Mark an integer or string with a pattern of its string form; like `matches`."""
    found = compiled(pattern).search
    return cel(
        f"type(self) == int || self.matches(r'{pattern}')",
        message,
        lambda value: isinstance(value, int) or found(value) is not None,
    )


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """A column of `kubectl get`; priority 0 is always shown, 1 only with `-o wide`."""

    name: str
    json_path: str
    type: ColumnType
    description: str
    priority: int = 0
    format: ColumnFormat | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale subresource, for `kubectl scale` and autoscalers: paths into the object, dots first, no indices."""

    spec_replicas: str = ".spec.replicas"
    status_replicas: str = ".status.replicas"
    selector: str = ".status.selector"


@dataclass(frozen=True, slots=True)
class CustomResource:
    """A custom kind: its names, its models and how kubectl shows it; `crd.crd` makes the definition from it.

    `rules` stand on the whole object: besides `self.spec` and `self.status` they may use `self.metadata.name`, and with
    `field_path=".metadata.name"` their errors point at it.
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    description: str
    spec: type[BaseModel]
    status: type[BaseModel] | None = None
    rules: tuple[Rule, ...] = ()
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    printer_columns: tuple[PrinterColumn, ...] = ()
    scale: Scale | None = None
