"""What the documentation tells of settings, metrics, commands and files is so in the code, and the other way round."""

import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from llmfleet.api.crd import crd
from llmfleet.api.deployment import LLM_DEPLOYMENT
from llmfleet.api.schema import schema_of
from llmfleet.api.structural import walk
from llmfleet.control.settings import Settings
from tests.cluster import __main__ as cluster_tool
from tests.generate import chart_reference, metrics_reference, settings_reference

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "docs" / "reference"
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "tests" / "cluster" / "README.md"})
WRITTEN = [page for page in PAGES if GENERATED not in page.parents and "adr" not in page.parts]
BLOCK = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n?)+")
QUOTED = re.compile(r"`([^`\n]+)`")
OWN_FOLDERS = ("charts/", "crds/", "docs/", "engine_image/", "manifests/", "operator/", "tests/")
MADE_UP = re.compile(r"[A-Z]{3,}|[*{}<>]|\.\.\.")
"""Parts of a path or name that stand for something else."""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def code(page: Path) -> Iterator[str]:
    """Everything on a page that is written as code."""
    text = page.read_text()
    yield from (block["text"] for block in BLOCK.finditer(text))
    yield from INDENTED.findall(BLOCK.sub("", text))
    yield from QUOTED.findall(BLOCK.sub("", text))


def words(page: Path) -> Iterator[str]:
    for text in code(page):
        for line in text.splitlines():
            yield from re.split(r"[\s'\"(),;|=]+", line)


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_files_of_the_repository_exist(page: Path) -> None:
    named = {word.rstrip(".:") for word in words(page) if word.startswith(OWN_FOLDERS) and not MADE_UP.search(word)}
    gone = [path for path in named if not (ROOT / path.partition("::")[0]).exists()]
    assert not gone, f"{name(page)} names files that do not exist: {gone}"


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_modules_that_are_run_exist(page: Path) -> None:
    named = {found for text in code(page) for found in re.findall(r"python3? -m ([a-z_.]+)", text)}
    gone = [module for module in named if find_spec(module.rstrip(".")) is None]
    assert not gone, f"{name(page)} runs modules that do not exist: {gone}"


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_variables_of_the_operator_exist(page: Path) -> None:
    operators = {settings_reference.variable(setting) for setting in Settings.model_fields}
    source = (
        "".join(
            path.read_text()
            for folder in ("engine_image", "tests/cluster", "tests/demo", "tests/e2e")
            for path in sorted((ROOT / folder).rglob("*.py"))
        )
        + (ROOT / "Makefile").read_text()
    )
    named = set(re.findall(r"\bLLMFLEET_[A-Z_]+[A-Z]\b", page.read_text()))
    unknown = {variable for variable in named - operators if variable not in source}
    assert not unknown, f"{name(page)} names variables that nothing reads: {unknown}"


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_metrics_exist(page: Path) -> None:
    known = {row.name for row in metrics_reference.rows()}
    named = set(re.findall(r"\bllmfleet_[a-z_]+[a-z]\b", page.read_text())) - {"llmfleet_engine"}
    assert named <= known, f"{name(page)} names metrics that do not exist: {named - known}"


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_fields_exist(page: Path) -> None:
    root = crd(LLM_DEPLOYMENT)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    known = {re.sub(r"\[\]|\{\}", "", path) for path, _ in walk(root)}
    opaque = tuple(
        f"{re.sub(r'[][{}]', '', path)}." for path, node in walk(root) if "x-kubernetes-preserve-unknown-fields" in node
    )
    tops = schema_of(LLM_DEPLOYMENT.spec, "spec")["properties"]
    named = set(re.findall(r"`(?:spec\.)?((?:" + "|".join(tops) + r")(?:\.[a-zA-Z]+)+)`", page.read_text()))
    values = {value.path for value in chart_reference.values()}
    unknown = [
        field
        for field in named
        if f"spec.{field}" not in known | values and field not in values and not f"spec.{field}".startswith(opaque)
    ]
    assert not unknown, f"{name(page)} names fields that do not exist: {unknown}"


def test_every_value_of_the_chart_that_sets_the_operator_has_its_default() -> None:
    defaults = {value.path: value.default for value in chart_reference.values()}
    for variable, value in settings_reference.chart_values().items():
        field = Settings.model_fields[variable.removeprefix("LLMFLEET_").lower()]
        if value and defaults[value] not in ("", []):  # empty: not given to the operator, which has a default itself
            assert defaults[value] == field.default, (
                f"charts/llmfleet/values.yaml: {value} is not the operator's default"
            )


def test_every_variable_that_the_chart_gives_is_a_setting() -> None:
    known = {settings_reference.variable(setting) for setting in Settings.model_fields}
    assert set(settings_reference.chart_values()) <= known


def test_every_page_is_reached_from_the_first() -> None:
    seen, ahead = set[Path](), [ROOT / "docs" / "README.md"]
    while ahead:
        page = ahead.pop()
        seen.add(page)
        links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
        targets = [(page.parent / link).resolve() for link in links if "://" not in link]
        ahead += [target for target in targets if target.suffix == ".md" and target not in seen]
        seen |= {inner.resolve() for target in targets if target.is_dir() for inner in target.glob("*.md")}
    assert {page for page in PAGES if page.parent != ROOT} - seen == set()


def test_the_readme_leads_to_contributing_and_all_documentation() -> None:
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / "README.md").read_text())
    assert {"CONTRIBUTING.md", "docs/README.md", "docs/troubleshooting.md", "docs/install.md"} <= set(links)


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_yaml_on_the_page_is_an_object_that_the_models_accept(page: Path) -> None:
    for block in BLOCK.finditer(page.read_text()):
        for manifest in yaml.safe_load_all(block["text"]) if block["kind"] == "yaml" else ():
            if isinstance(manifest, dict) and manifest.get("kind") == LLM_DEPLOYMENT.kind:
                LLM_DEPLOYMENT.spec.model_validate(manifest["spec"])


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_commands_of_the_cluster_tool_exist(page: Path) -> None:
    known = cluster_tool._parser()._subparsers._group_actions[0].choices
    for text in code(page):
        for line in re.findall(r"python -m tests\.cluster (.+)", text):
            given = [word for word in shlex.split(line, comments=True) if re.fullmatch(r"[a-z][a-z-]+", word)]
            assert not given or given[0] in known, f"{name(page)}: the cluster tool has no {given[0]}"
