"""What a schema lets in, the model it was made from reads: else an accepted object would stop the operator.

The rules are judged by the API server alone, so that tests/api/test_agreement.py asks both.
"""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from llmfleet.api.deployment import LLM_DEPLOYMENT, Spec
from llmfleet.api.schema import schema_of
from llmfleet.api.status import Status
from tests.api.crd_cases import VIOLATIONS, laid
from tests.unit.api.made_models import STRUCTS
from tests.unit.api.made_specs import SPECS, as_stored, values

Schema = dict[str, Any]
SLOW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


@SLOW
@given(SPECS)
def test_every_spec_that_keeps_schema_and_rules_is_read(spec: Schema) -> None:
    Spec.model_validate(spec)


@SLOW
@given(values(schema_of(Status, "status", defaults=False)))
def test_every_status_that_the_schema_accepts_is_read(status: Schema) -> None:
    Status.model_validate(status)


@SLOW
@given(st.data(), STRUCTS)
def test_every_value_that_a_made_up_schema_accepts_is_read(data: st.DataObject, model: type[BaseModel]) -> None:
    model.model_validate(data.draw(values(schema_of(model, "spec"))))


@pytest.mark.parametrize(("place", "piece", "changes"), VIOLATIONS)
def test_the_models_refuse_what_breaks_a_rule_and_say_the_same(place: str, piece: str, changes: Schema) -> None:
    with pytest.raises(ValidationError) as refusal:
        Spec.model_validate(laid(changes))
    faults = [(".".join(("spec", *map(str, fault["loc"]))), fault["msg"]) for fault in refusal.value.errors()]
    parent = re.split(r"\[|\{", place)[0]
    assert [where for where, said in faults if where.startswith(parent) and piece in said], faults


@pytest.mark.parametrize("spec", [{"replicas": "3"}, {"replicas": True}, {"engine": {"prefixCaching": "yes"}}])
def test_the_models_convert_nothing(spec: Schema) -> None:
    with pytest.raises(ValidationError):
        Spec.model_validate({"model": {"source": "hf://o/r"}, **spec})


def test_null_is_absent_in_a_struct_and_in_a_map_but_not_in_a_list() -> None:
    labels = {"labels": {"a": None, "b": "c"}}
    spec = {"engine": None, "podTemplate": labels, "model": {"name": None, "adapters": [None]}}
    stored = {"podTemplate": {"labels": {"b": "c"}}, "model": {"adapters": [None]}}
    assert as_stored(spec) == stored


def test_a_name_is_judged_by_its_rule() -> None:
    (rule,) = LLM_DEPLOYMENT.rules
    assert rule.holds is not None
    assert [name for name in ("chat", "a" * 51, "1a", "a\n") if rule.holds(name)] == ["chat"]
