"""Markers: what a model tells the CRD generator beyond what pydantic itself knows.

Field markers are `Annotated` metadata. They change only the JSON schema, never validation in Python: the API server
enforces them, so a model with a rule on it accepts in Python what the API server would refuse.

    class Container(BaseModel):
        '''A container of the pod.'''
        env: Annotated[list[EnvVar], list_map("name"), Field(max_length=64, description="Environment.")] = []
        name: Annotated[str, cel("self == oldSelf", "name cannot change"), Field(max_length=63, description="Name.")]

Rules over several fields of one struct stand on the class with `@rules(cel(...), ...)`; `crd.py` reads them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

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
    field_path: str | None = None
    reason: Reason = _DEFAULT_REASON

    def as_schema(self) -> dict[str, str]:
        """Return one item of x-kubernetes-validations."""
        item = {"rule": self.rule, "message": self.message}
        if self.field_path is not None:
            item["fieldPath"] = self.field_path
        if self.reason != _DEFAULT_REASON:
            item["reason"] = self.reason
        return item

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        schema["x-kubernetes-validations"] = [*schema.get("x-kubernetes-validations", []), self.as_schema()]
        return schema


def cel(rule: str, message: str, *, field_path: str | None = None, reason: Reason = _DEFAULT_REASON) -> Rule:
    """Mark a field, or with `@rules` a struct, with a CEL rule.

    Args:
        rule: the expression; true means valid. `self` is the field's value or the struct. A rule that mentions
            `oldSelf` runs on updates only.
        message: what the user reads, one line: what is wrong and what to write instead.
        field_path: for rules on structs, the field the error points at, relative to the struct, e.g. `.maxReplicas`.
        reason: the machine-readable cause in the API server's answer.
    """
    return Rule(rule=rule, message=message, field_path=field_path, reason=reason)


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


def list_map(*keys: str) -> Keywords:
    """Mark a list of structs as a map under the given (camelCase) key fields: appliers own its items one by one."""
    return Keywords((("x-kubernetes-list-type", "map"), ("x-kubernetes-list-map-keys", keys)))


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

    pattern: str | None
    max_length: int
    minimum: int | None

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        del core_schema, handler  # the Python type may be a custom one that has no JSON schema at all
        schema: JsonSchemaValue = {"x-kubernetes-int-or-string": True, "maxLength": self.max_length}
        if self.pattern is not None:
            schema["pattern"] = self.pattern
        if self.minimum is not None:
            schema["minimum"] = self.minimum
        return schema


def int_or_string(*, pattern: str | None = None, max_length: int, minimum: int | None = None) -> IntOrString:
    """Mark a field as integer or string; `pattern` and `max_length` bind the string form, `minimum` the integer."""
    return IntOrString(pattern=pattern, max_length=max_length, minimum=minimum)


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
