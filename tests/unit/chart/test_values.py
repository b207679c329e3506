"""The values: what the schema refuses, and what becomes of them in the operator's settings."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmfleet.control.settings import Settings
from tests.generate import chart, chart_reference
from tests.unit.chart.rendered import EXAMPLES, Render, render, values_of

SCHEMA = json.loads((chart.CHART / "values.schema.json").read_text())
KEYS_FOR_OTHER_CHARTS = {"global", "enabled"}


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_are_clean(example: str) -> None:
    assert "0 chart(s) failed" in chart.lint(values_of(example))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replica": 2}, "'replica' not allowed"),
        ({"image": {"tga": "1"}}, "'tga' not allowed"),
        ({"engineImages": {"vllm": "x"}}, "'vllm' not allowed"),
        ({"crds": {"enable": True}}, "'enable' not allowed"),
        ({"rbac": {"agregate": True}}, "'agregate' not allowed"),
        ({"serviceAccount": {"nme": "x"}}, "'nme' not allowed"),
        ({"strategy": {"type": "Recreate", "max": 1}}, "'max' not allowed"),
        ({"resources": {"limit": {"memory": "1Gi"}}}, "'limit' not allowed"),
        ({"imagePullSecrets": ["registry"]}, "/imagePullSecrets/0"),
        ({"extraEnv": [{"name": "A", "valu": "b"}]}, "'valu' not allowed"),
        ({"replicas": "two"}, "/replicas"),
        ({"workers": 0}, "/workers"),
        ({"logLevel": "debug"}, "/logLevel"),
        ({"allowHostPath": "yes"}, "/allowHostPath"),
        ({"watchNamespaces": "models"}, "/watchNamespaces"),
        ({"watchNamespaces": ["models", "models"]}, "/watchNamespaces"),
        ({"watchNamespaces": ["Models"]}, "/watchNamespaces/0"),
        ({"image": {"digest": "sha256:abc"}}, "/image/digest"),
        ({"image": {"tag": "a b"}}, "/image/tag"),
        ({"strategy": {"type": "Blue"}}, "/strategy/type"),
        ({"podLabels": {"app.kubernetes.io/name": "mine"}}, "app.kubernetes.io/name"),
        ({"commonLabels": {"app.kubernetes.io/managed-by": "llmfleet"}}, "app.kubernetes.io/managed-by"),
        ({"commonLabels": {"team": "no spaces"}}, "/commonLabels/team"),
        ({"podAnnotations": {"port": 8080}}, "/podAnnotations/port"),
    ],
    ids=str,
)
def test_what_is_misspelt_or_of_another_type_is_refused_by_its_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(chart.RenderError, match="schema") as refused:
        chart.render(values)
    assert named in str(refused.value)


@pytest.mark.parametrize("key", sorted(KEYS_FOR_OTHER_CHARTS))
def test_a_chart_that_depends_on_this_one_may_pass_its_own_keys(key: str) -> None:
    assert chart.render({key: {"a": 1} if key == "global" else True}) == chart.render()


def test_an_account_that_is_not_made_has_to_be_named() -> None:
    with pytest.raises(chart.RenderError, match=r"serviceAccount\.name is needed"):
        chart.render({"serviceAccount": {"create": False}})


def test_schema_and_values_know_the_same_names() -> None:
    values = yaml.safe_load((chart.CHART / "values.yaml").read_text())

    def compare(schema: dict[str, Any], given: dict[str, Any], path: str) -> None:
        assert schema["additionalProperties"] is False, path
        assert set(schema["properties"]) == set(given), path
        for name, value in given.items():
            if isinstance(value, dict) and "properties" in schema["properties"][name]:
                compare(schema["properties"][name], value, f"{path}.{name}")

    compare(SCHEMA, values | dict.fromkeys(KEYS_FOR_OTHER_CHARTS), "values")


def _settings(rendered: Render, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings that an operator has in that pod."""
    for name, value in rendered.env.items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_by_default_the_operator_has_its_own_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Settings()
    assert _settings(render(), monkeypatch) == own
    assert own.listen_port == render().container["ports"][0]["containerPort"]


def test_values_become_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = render(
        **values_of("restricted"), watchNamespaces=["a", "b"], allowHostPath=True, fullnameOverride="other"
    )
    settings = _settings(rendered, monkeypatch)
    assert settings.namespaces == ("a", "b")
    assert settings.allow_host_path
    assert (settings.workers, settings.log_level) == (4, "WARNING")
    assert settings.engine_image == "registry.example.com:5000/mirror/engine:0.1.0"
    assert settings.engine_cpu_image == "registry.example.com:5000/mirror/engine-cpu:0.1.0"
    assert settings.simulator_image == "registry.example.com:5000/mirror/simulator:v0.10.2"
    assert settings.lease_name == "other-operator"


def test_every_variable_of_ours_is_a_setting() -> None:
    rendered = render(watchNamespaces=["a"], engineImages={"gpu": "a", "cpu": "b", "simulator": "c"})
    known = {f"LLMFLEET_{name.upper()}" for name in Settings.model_fields}
    assert set(rendered.env) <= known


def test_bounds_of_the_schema_are_those_of_the_settings() -> None:
    workers = Settings.model_json_schema()["properties"]["workers"]
    assert {bound: SCHEMA["properties"]["workers"][bound] for bound in ("minimum", "maximum")} == {
        bound: workers[bound] for bound in ("minimum", "maximum")
    }
    levels = Settings.model_json_schema()["properties"]["log_level"]["enum"]
    assert SCHEMA["properties"]["logLevel"]["enum"] == levels


def test_the_page_of_values_is_fresh() -> None:
    for path, text in chart_reference.page().items():
        assert Path(path).read_text() == text


def test_chart_operator_and_images_have_one_version() -> None:
    described = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
    version = tomllib.loads(Path("operator/pyproject.toml").read_text())["project"]["version"]
    assert (described["version"], described["appVersion"]) == (version, version)
    listed = {entry["image"] for entry in yaml.safe_load(described["annotations"]["artifacthub.io/images"])}
    own = Settings()
    assert listed == {f"ghcr.io/llmfleet/operator:{version}", own.engine_image, own.engine_cpu_image}


def test_the_hub_is_told_of_every_kind() -> None:
    described = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())["annotations"]
    told = {entry["name"] for entry in yaml.safe_load(described["artifacthub.io/crds"])}
    assert told == {yaml.safe_load(path.read_text())["metadata"]["name"] for path in Path("crds").glob("*.yaml")}
