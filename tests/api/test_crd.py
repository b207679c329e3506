"""The generated CustomResourceDefinition before the judge: a real API server."""

import copy
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from llmfleet.api.crd import crd, dump
from llmfleet.api.deployment import LLM_DEPLOYMENT, Spec
from llmfleet.api.patterns import check_pattern
from llmfleet.api.schema import VALIDATIONS
from llmfleet.api.structural import walk
from tests.api.crd_cases import ALTERNATIVES, FULL, OUT_OF_BOUNDS, VIOLATIONS, Object, deployment, laid
from tests.api_http import http_client
from tests.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.unit.api import pattern_cases, structural_cases
from tests.wait import eventually

pytestmark = pytest.mark.api

DEFINITION = crd(LLM_DEPLOYMENT)
NAME = DEFINITION["metadata"]["name"]
SCHEMA = DEFINITION["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
NAMESPACE = "crd-test"
KINDS = f"/apis/{LLM_DEPLOYMENT.group}/{LLM_DEPLOYMENT.version}/namespaces/{NAMESPACE}/{LLM_DEPLOYMENT.plural}"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DRY_RUN = {"dryRun": "All", "fieldValidation": "Strict"}
SERVED_WITHIN_S = 30.0

Post = Callable[[str, Object], httpx.Response]


@pytest.fixture(scope="module")
def http(cluster: Cluster) -> Iterator[httpx.Client]:
    """A client of the API server with the definition installed and served."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=dump(DEFINITION))
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    with http_client(cluster) as client:
        client.post("/api/v1/namespaces", json=namespace)
        eventually(
            lambda: client.get(KINDS).status_code == httpx.codes.OK,
            within_s=SERVED_WITHIN_S,
            what=f"{NAME} is served",
            last=lambda: client.get(f"{DEFINITIONS}/{NAME}").text,
        )
        yield client


@pytest.fixture
def tried(http: httpx.Client) -> Post:
    """Create an object as kubectl does, but dry."""

    def post(path: str, obj: Object) -> httpx.Response:
        return http.post(path, json=obj, params=DRY_RUN)

    return post


def one_field(schema: Object) -> Object:
    """A definition of another kind with that schema."""
    definition = copy.deepcopy(DEFINITION)
    definition["metadata"]["name"] = "widgets.crd-test.llmfleet.dev"
    definition["spec"] |= {
        "group": "crd-test.llmfleet.dev",
        "names": {"kind": "Widget", "plural": "widgets"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
    }
    return definition


def test_the_definition_is_established_and_structural(http: httpx.Client) -> None:
    conditions = {
        condition["type"]: condition["status"]
        for condition in http.get(f"{DEFINITIONS}/{NAME}").json()["status"]["conditions"]
    }
    assert conditions["Established"] == "True"
    assert "NonStructuralSchema" not in conditions


def test_a_generated_definition_raises_no_warning(tried: Post) -> None:
    definition = copy.deepcopy(DEFINITION)
    definition["metadata"]["name"] = "widgets.crd-test.llmfleet.dev"
    definition["spec"] |= {"group": "crd-test.llmfleet.dev", "names": {"kind": "Widget", "plural": "widgets"}}
    answer = tried(DEFINITIONS, definition)
    assert answer.status_code == httpx.codes.CREATED, answer.json()["message"]
    assert "Warning" not in answer.headers


@pytest.mark.usefixtures("http")
def test_kubectl_explains_the_fields(cluster: Cluster) -> None:
    def explanation() -> str:
        try:
            return cluster.kubectl("explain", "llm.spec.engine")
        except ClusterError as error:  # the server publishes the schema a moment after it serves the kind
            return str(error)

    eventually(
        lambda: "tensorParallelSize" in explanation(),
        within_s=SERVED_WITHIN_S,
        what="kubectl explains spec.engine",
        last=explanation,
    )
    flat = " ".join(explanation().split())
    engine = SCHEMA["properties"]["spec"]["properties"]["engine"]
    for field in engine["properties"].values():
        assert field["description"] in flat


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"engine": {"tensorParalelSize": 2}}, "spec.engine.tensorParalelSize"),
        ({"replica": 2}, "spec.replica"),
        ({"engine": {"env": [{"name": "A", "value": "a", "vale": "b"}]}}, "spec.engine.env[0].vale"),
    ],
)
def test_a_typo_is_refused_by_name(tried: Post, spec: Object, field: str) -> None:
    answer = tried(KINDS, deployment(spec))
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert f'unknown field "{field}"' in answer.json()["message"]


def test_the_smallest_object_gets_the_defaults_of_the_models(tried: Post) -> None:
    answer = tried(KINDS, deployment())
    assert answer.status_code == httpx.codes.CREATED, answer.json()["message"]
    stored = answer.json()["spec"]
    assert Spec.model_validate(stored) == Spec.model_validate(deployment()["spec"])
    assert stored == {
        "model": {"source": "hf://org/repo"},
        "replicas": 1,
        "startup": {"deadline": "30m"},
        "drain": {"timeout": "5m"},
        "rollout": {"retainStable": "10m"},
        "revisionHistoryLimit": 5,
    }


def _fields_of(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}.{key}"
            yield from _fields_of(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from _fields_of(inner, f"{path}[]")


def test_the_examples_use_every_field() -> None:
    used = {path for spec in (FULL, *ALTERNATIVES) for path in _fields_of(spec, "spec")}
    known = {path for path, _ in walk(SCHEMA) if path.startswith("spec.") and not path.endswith(("[]", "{}"))}
    assert known - used == set()


@pytest.mark.parametrize("spec", [FULL, *ALTERNATIVES])
def test_what_the_api_server_accepts_the_models_read(tried: Post, spec: Object) -> None:
    answer = tried(KINDS, deployment(spec))
    assert answer.status_code == httpx.codes.CREATED, answer.json()["message"]
    stored = answer.json()["spec"]
    dumped = Spec.model_validate(stored).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert _without_empty(dumped) == _without_empty(stored)


def _without_empty(value: Any) -> Any:
    """Drop empty lists and objects: absent and empty mean the same."""
    if isinstance(value, dict):
        kept = {key: _without_empty(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner not in ({}, [])}
    return [_without_empty(inner) for inner in value] if isinstance(value, list) else value


RULES = [(path, rule) for path, node in walk(SCHEMA) for rule in node.get(VALIDATIONS, ())]


def _refused(answer: httpx.Response) -> list[str]:
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY, answer.text
    return [f"{cause['field']}: {cause['message']}" for cause in answer.json()["details"]["causes"]]


def test_each_rule_has_a_violation() -> None:
    unbroken = [
        f"{path}: {rule['message']}"
        for path, rule in RULES
        if path and not any(place == path and piece in rule["message"] for place, piece, _ in VIOLATIONS)
    ]
    assert unbroken == []


@pytest.mark.parametrize(("place", "piece", "changes"), VIOLATIONS)
def test_a_violation_is_refused_with_the_message_of_its_rule(
    tried: Post, place: str, piece: str, changes: Object
) -> None:
    (rule,) = (rule for path, rule in RULES if path == place and piece in rule["message"])
    field = place.replace("[]", "[0]").replace("{}", "[k]") + rule.get("fieldPath", "")
    causes = _refused(tried(KINDS, deployment(laid(changes))))
    assert [cause for cause in causes if cause.startswith(f"{field}: ") and cause.endswith(rule["message"])], causes


@pytest.mark.parametrize("name", ["a" * 51, "1chat", "cha.t"])
def test_a_name_that_cannot_be_a_service_is_refused(tried: Post, name: str) -> None:
    (cause,) = _refused(tried(KINDS, deployment(name=name)))
    assert "metadata.name becomes the name of a Service" in cause


@pytest.mark.parametrize(("field", "remedy", "changes"), OUT_OF_BOUNDS)
def test_a_value_out_of_bounds_is_refused_with_its_field_and_the_remedy(
    tried: Post, field: str, remedy: str, changes: Object
) -> None:
    causes = _refused(tried(KINDS, deployment(laid(changes))))
    assert [cause for cause in causes if cause.startswith(f"{field}: ") and remedy in cause], causes


def test_the_scale_subresource_reads_and_writes_replicas(http: httpx.Client, cluster: Cluster) -> None:
    name = "scaled"
    http.delete(f"{KINDS}/{name}")
    assert http.post(KINDS, json=deployment(name=name)).status_code == httpx.codes.CREATED
    try:
        status = {"replicas": 2, "selector": f"llmfleet.dev/name={name}"}
        merge = {"Content-Type": "application/merge-patch+json"}
        answer = http.patch(f"{KINDS}/{name}/status", json={"status": status}, headers=merge)
        assert status.items() <= answer.json()["status"].items()
        cluster.kubectl("scale", f"{LLM_DEPLOYMENT.plural}/{name}", "-n", NAMESPACE, "--replicas=3")
        # The operator of other tests may be there and write the status as well: what counts is that the two agree.
        scale, seen = eventually(lambda: at_one_moment(http, name), within_s=10, what="both are read at one version")
        assert scale["spec"] == {"replicas": 3}
        assert scale["status"] == {key: seen["status"][key] for key in status}
    finally:
        http.delete(f"{KINDS}/{name}")


def at_one_moment(http: httpx.Client, name: str) -> tuple[Object, Object] | None:
    """Read the scale of an object and the object itself; None where it changed between the two."""
    scale, seen = http.get(f"{KINDS}/{name}/scale").json(), http.get(f"{KINDS}/{name}").json()
    return (scale, seen) if scale["metadata"]["resourceVersion"] == seen["metadata"]["resourceVersion"] else None


@pytest.mark.parametrize("field", structural_cases.GOOD.values(), ids=structural_cases.GOOD.keys())
def test_the_api_server_takes_what_our_checker_calls_structural(tried: Post, field: Object) -> None:
    answer = tried(DEFINITIONS, one_field(structural_cases.root(field)))
    assert answer.status_code == httpx.codes.CREATED, answer.json()["message"]


OURS_ALONE = {
    "fields of a string",
    "int or string with a type",
    "items of a string",
    "map of anything",
    "null default",
    "required but absent",
}
"""What the API server lets pass, though it means nothing, or that no object is valid."""


@pytest.mark.parametrize("case", sorted(structural_cases.BAD.keys() - OURS_ALONE))
def test_the_api_server_refuses_what_our_checker_refuses(tried: Post, case: str) -> None:
    field, _, _ = structural_cases.BAD[case]
    answer = tried(DEFINITIONS, one_field(structural_cases.root(field)))
    assert answer.status_code in {httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY}


def _accepted_patterns(count: int) -> list[str]:
    """Made-up patterns that our check lets through; always the same ones."""
    dice = random.Random(20261121)
    pieces = [
        "a",
        "[a-z]",
        "[^a]",
        "(?:b|c)",
        "(d)",
        "(?P<x>e)",
        "(?i:f)",
        r"\.",
        r"\d",
        r"\w",
        r"\b",
        "^",
        "$",
        ".",
        "|",
    ]
    quantifiers = ["", "", "", "*", "+", "?", "*?", "{2}", "{1,3}", "{0,1000}", "{,3}"]
    found: set[str] = set()
    while len(found) < count:
        pattern = "".join(dice.choice(pieces) + dice.choice(quantifiers) for _ in range(dice.randint(1, 6)))
        try:
            check_pattern(pattern)
        except ValueError:
            continue
        found.add(pattern)
    return sorted(found)


def test_the_api_server_compiles_every_pattern_that_our_check_accepts(tried: Post) -> None:
    patterns = [*pattern_cases.GOOD, *_accepted_patterns(300)]
    fields = {f"f{n}": {"type": "string", "maxLength": 9, "pattern": pattern} for n, pattern in enumerate(patterns)}
    schema = structural_cases.root({"type": "object", "properties": fields})
    answer = tried(DEFINITIONS, one_field(schema))
    refused = re.findall(r"properties\[f(\d+)\]\.pattern", answer.text)
    assert [patterns[int(index)] for index in refused] == []
    assert answer.status_code == httpx.codes.CREATED, answer.json()["message"]
