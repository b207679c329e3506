"""What was stored under an earlier version is read by this one, unchanged, and restarts nothing.

tests/unit/api/stored/ holds, for each version that people may run, its CustomResourceDefinition and objects as the API
server stored them under it. A file there changes only where its definition was widened without saying so in the schema.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmfleet.api.crd import crd
from llmfleet.api.deployment import LLM_DEPLOYMENT, Spec
from llmfleet.api.status import Status
from llmfleet.api.structural import walk
from llmfleet.decide.revision import revision_hash
from tests.api.crd_cases import STATUS
from tests.generate.stored import main
from tests.unit.api.narrowing import narrowings
from tests.unit.api.stored_objects import DEFINITIONS, OBJECTS, REVISION, bare

NOW = crd(LLM_DEPLOYMENT)
Schema = dict[str, Any]


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.stem)
def test_nothing_that_was_let_in_is_refused_now(path: Path) -> None:
    found = narrowings(yaml.safe_load(path.read_text()), NOW)
    assert not found, f"crds/ is narrower than {path.name}:\n" + "\n".join(f"- {text}" for text in found)


@pytest.mark.parametrize("stored", OBJECTS)
def test_a_stored_object_is_read_without_loss(stored: Schema) -> None:
    spec = Spec.model_validate(stored["spec"]).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert {**bare(spec), **bare(stored["spec"])} == bare(spec)
    status = stored.get("status", {})
    assert Status.model_validate(status).model_dump(mode="json", by_alias=True, exclude_none=True) == {
        "conditions": [],
        **status,
    }


@pytest.mark.parametrize("stored", OBJECTS)
def test_a_stored_object_asks_for_the_same_revision_as_ever(stored: Schema) -> None:
    # Another hash would restart every engine at the upgrade.
    assert revision_hash(stored["spec"]) == stored["metadata"]["annotations"][REVISION]


def test_a_kept_version_is_not_written_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tmp_path) == 0
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert len(written) == 2
    assert main(tmp_path) == 1
    assert "stays as it is" in capsys.readouterr().err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == written


def test_the_kept_status_uses_every_field() -> None:
    schema = NOW["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    known = {path for path, _ in walk(schema) if path and not path.endswith("[]")}
    assert known - set(_paths(STATUS)) == set()


def _paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}.{key}".removeprefix(".")
            yield from _paths(inner, f"{path}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner, f"{path}[]")


def spec_of(definition: Schema) -> Schema:
    schema: Schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def replicas(**keywords: Any) -> Callable[[Schema], None]:
    return lambda definition: spec_of(definition)["properties"]["replicas"].update(keywords)


def engine(definition: Schema) -> Schema:
    fields: Schema = spec_of(definition)["properties"]["engine"]["properties"]
    return fields


NARROWER: dict[str, tuple[Callable[[Schema], Any], str]] = {
    "field gone": (lambda d: engine(d).pop("image"), "spec.engine.image: the field is gone"),
    "upper bound": (replicas(maximum=999), "spec.replicas: maximum was 1000 and is 999"),
    "lower bound": (replicas(minimum=1), "spec.replicas: minimum was 0 and is 1"),
    "exclusive": (replicas(exclusiveMinimum=True), "spec.replicas: minimum 0 itself is excluded"),
    "type": (replicas(type="number"), "spec.replicas: type was integer and is number"),
    "default": (replicas(default=2), "spec.replicas: default was 1 and is 2"),
    "required": (lambda d: spec_of(d)["required"].append("engine"), "spec.engine: is required now"),
    "enum": (lambda d: engine(d)["dtype"]["enum"].remove("half"), "spec.engine.dtype: half is no value"),
    "new enum": (lambda d: engine(d)["image"].update(enum=["a"]), "spec.engine.image: (anything) is no value"),
    "shorter text": (lambda d: engine(d)["image"].update(maxLength=9), "spec.engine.image: maxLength was 512 and is 9"),
    "shorter list": (lambda d: engine(d)["args"].update(maxItems=9), "spec.engine.args: maxItems was 64 and is 9"),
    "item": (lambda d: engine(d)["args"]["items"].update(maxLength=9), "spec.engine.args[]: maxLength was 1024"),
    "pattern": (lambda d: engine(d)["image"].update(pattern="a"), "spec.engine.image: pattern was None and is a"),
    "rule": (
        lambda d: engine(d)["image"]["x-kubernetes-validations"].append({"rule": "self != ''", "message": "m"}),
        "spec.engine.image: new rule self != ''",
    ),
    "opaque": (
        lambda d: spec_of(d)["properties"]["podTemplate"]["properties"]["affinity"].pop(
            "x-kubernetes-preserve-unknown-fields"
        ),
        "spec.podTemplate.affinity: was opaque",
    ),
    "short name": (lambda d: d["spec"]["names"]["shortNames"].clear(), "names.shortNames was ['llm'] and is []"),
    "scope": (lambda d: d["spec"].update(scope="Cluster"), "scope was Namespaced and is Cluster"),
    "version": (lambda d: d["spec"]["versions"][0].update(served=False), "version v1alpha1 is not served"),
    "scale": (lambda d: d["spec"]["versions"][0]["subresources"].pop("scale"), "subresources were"),
}


@pytest.mark.parametrize(("change", "said"), NARROWER.values(), ids=NARROWER.keys())
def test_a_narrower_definition_is_named_with_its_field(change: Callable[[Schema], Any], said: str) -> None:
    later = copy.deepcopy(NOW)
    change(later)
    (found,) = narrowings(NOW, later)
    assert found.startswith(said)
    assert "new optional field" in found


WIDER: dict[str, Callable[[Schema], Any]] = {
    "nothing": lambda _: None,
    "new field": lambda d: engine(d).update(new={"type": "string", "maxLength": 9, "description": "New."}),
    "wider bound": replicas(maximum=2000),
    "no bound": lambda d: spec_of(d)["properties"]["replicas"].pop("maximum"),
    "wider format": replicas(format="int64"),
    "new value": lambda d: engine(d)["profile"]["enum"].append("sglang"),
    "any value": lambda d: engine(d)["profile"].pop("enum"),
    "rule gone": lambda d: engine(d)["image"].pop("x-kubernetes-validations"),
    "optional": lambda d: spec_of(d)["required"].remove("model"),
    "other words": lambda d: engine(d)["image"].update(description="Another."),
    "new version": lambda d: d["spec"]["versions"].append({**d["spec"]["versions"][0], "name": "v1beta1"}),
}


@pytest.mark.parametrize("change", WIDER.values(), ids=WIDER.keys())
def test_a_wider_definition_is_fine(change: Callable[[Schema], Any]) -> None:
    later = copy.deepcopy(NOW)
    change(later)
    assert narrowings(NOW, later) == []
