"""docs/install.md says what the chart does."""

import re
from pathlib import Path

from tests.generate import chart_reference
from tests.unit.chart.rendered import example

PAGE = Path("docs/install.md").read_text()


def test_the_table_of_rights_is_that_of_the_roles() -> None:
    rows = re.findall(r"^\| (`[a-z/]+`.*?) \| ([a-z, ]+) \| .* \|$", PAGE, re.MULTILINE)
    told = {
        (resource, verb)
        for names, verbs in rows
        for resource in re.findall("`(.*?)`", names)
        for verb in verbs.split(", ")
    }
    given = {
        (resource, verb)
        for rule in example("minimal").own_rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert told == given


def test_the_values_it_names_exist() -> None:
    known = {value.path for value in chart_reference.values()}
    groups = {path.partition(".")[0] for path in known}
    named = {
        name
        for name in re.findall(r"(?:`|--set '?)([a-z][A-Za-z]+(?:\.[a-z][A-Za-z]+)?)(?:`|=)", PAGE)
        if name.partition(".")[0] in groups
    }
    assert {"replicas", "watchNamespaces", "crds.enabled", "crds.keep", "image.digest"} <= named
    assert named <= known


def test_the_files_it_names_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", PAGE)
    paths = re.findall(r"(?:-[fk] |=)((?:crds|manifests|charts)/[\w./-]*)", PAGE)
    assert links
    assert paths
    for path in [*(f"docs/{link}" for link in links), *paths]:
        assert Path(path).exists(), path
