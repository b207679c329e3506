"""Two judges of thousands of LLMDeployments: the API server with its CustomResourceDefinition, and the models.

What the models refuse and the API server stores would stop the operator; what they accept and it refuses would make a
check of manifests outside a cluster worthless.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, seed, settings
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from llmfleet.api.crd import crd
from llmfleet.api.deployment import LLM_DEPLOYMENT, Spec
from llmfleet.api.schema import VALIDATIONS
from llmfleet.api.structural import walk
from llmfleet.decide.revision import revision_hash
from tests.api.crd_cases import OUT_OF_BOUNDS, VIOLATIONS, deployment, laid
from tests.api_http import http_client
from tests.cluster import Cluster
from tests.unit.api.made_specs import MANIFESTS, as_stored
from tests.unit.api.stored_objects import OBJECTS, REVISION, bare

pytestmark = pytest.mark.api

COUNT = 2000
SEED = 20261121
"""The objects are the same in every run of the same tests; another seed gives others."""
LEAST_SHARE = 0.2
CONNECTIONS = 8
KINDS = f"/apis/{LLM_DEPLOYMENT.group}/{LLM_DEPLOYMENT.version}/namespaces/default/{LLM_DEPLOYMENT.plural}"
SCHEMA = crd(LLM_DEPLOYMENT)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
RULES = [(path, rule) for path, node in walk(SCHEMA) for rule in node.get(VALIDATIONS, ())]
REFUSALS = {httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY}
Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def http(crds: Cluster) -> Iterator[httpx.Client]:
    with http_client(crds) as client:
        yield client


def refused_by_models(manifest: Manifest) -> str:
    """Say why the models refuse an object; empty where they do not."""
    try:
        for rule in LLM_DEPLOYMENT.rules:
            rule.check(manifest["metadata"]["name"])
        Spec.model_validate(as_stored(manifest.get("spec")))
    except (ValidationError, PydanticCustomError) as error:
        return str(error)
    return ""


def refused_by_api_server(http: httpx.Client, manifest: Manifest) -> str:
    """Say why the API server refuses an object; empty where it does not. It drops unknown fields, as the models do."""
    answer = http.post(KINDS, params={"dryRun": "All", "fieldValidation": "Ignore"}, json=manifest)
    if answer.status_code in REFUSALS:
        return str(answer.json()["message"])
    assert answer.status_code == httpx.codes.CREATED, answer.text
    return ""


def drawn(judge: Callable[[Manifest], None]) -> None:
    """Hand the same made-up LLMDeployments to a judge; what it does not bear is made as small as it gets."""

    @seed(SEED)
    @settings(max_examples=COUNT, database=None, suppress_health_check=list(HealthCheck))
    @given(MANIFESTS)
    def each(manifest: Manifest) -> None:
        judge(manifest)

    each()


def test_models_and_api_server_come_to_the_same_verdict(http: httpx.Client) -> None:
    def agree(manifest: Manifest, theirs: str) -> None:
        ours = refused_by_models(manifest)
        assert bool(ours) == bool(theirs), (
            f"seed {SEED}\n{json.dumps(manifest)}\nmodels: {ours or 'accept it'}\nAPI server: {theirs or 'accepts it'}"
        )

    manifests = [deployment(laid(changes)) for _, _, changes in (*VIOLATIONS, *OUT_OF_BOUNDS)]
    manifests.append(deployment(laid({"podTemplate.annotations": {"a": None, "b": "c"}})))
    manifests += [deployment(name=name) for name in ("a" * 51, "1chat", "cha.t", "Chat")]
    drawn(manifests.append)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        verdicts = list(pool.map(partial(refused_by_api_server, http), manifests))
    print(f"seed {SEED}: {len(manifests)} objects, {sum(map(bool, verdicts))} refused by the API server")
    try:
        for manifest, theirs in zip(manifests, verdicts, strict=True):
            agree(manifest, theirs)
    except AssertionError:
        drawn(lambda manifest: agree(manifest, refused_by_api_server(http, manifest)))
        raise
    refused = sum(map(bool, verdicts))
    assert len(manifests) >= COUNT
    unbroken = [rule["message"] for _, rule in RULES if not any(rule["message"] in said for said in verdicts)]
    assert unbroken == [], "no object breaks these rules, so nobody compares them"
    assert LEAST_SHARE * len(manifests) <= refused <= (1 - LEAST_SHARE) * len(manifests)


@pytest.mark.parametrize("stored", OBJECTS)
def test_a_stored_object_of_an_earlier_version_is_accepted_unchanged(http: httpx.Client, stored: Manifest) -> None:
    answer = http.post(KINDS, params={"dryRun": "All", "fieldValidation": "Strict"}, json=stored)
    assert answer.status_code == httpx.codes.CREATED, answer.json()["message"]
    kept, was = bare(answer.json()["spec"]), bare(stored["spec"])
    assert {name: kept.get(name) for name in was} == was
    # A default that the API server writes into what makes a revision would restart every engine.
    assert revision_hash(answer.json()["spec"]) == stored["metadata"]["annotations"][REVISION]
