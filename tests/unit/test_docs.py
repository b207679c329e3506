"""The documentation names what there is: every reason, only real make targets, only links that lead somewhere."""

import re
from pathlib import Path

import pytest

from llmfleet.api.reasons import ConditionType, Reason

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "tests" / "cluster" / "README.md"})
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
TARGETS = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub(lambda code: code[0].replace("#", ""), page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", [*ConditionType, *Reason])
def test_every_condition_and_reason_has_a_section(name: str) -> None:
    assert re.search(rf"^### {name}$", TROUBLESHOOTING.read_text(), re.MULTILINE), f"no section '### {name}'"


def test_no_section_outlives_its_condition_or_reason() -> None:
    sections = set(re.findall(r"^### (.+)$", TROUBLESHOOTING.read_text(), re.MULTILINE))
    assert sections == {*ConditionType, *Reason}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_exist(page: Path) -> None:
    code = [*CODE.findall(page.read_text()), *re.findall(r"^(?: {4}|\t).*$", page.read_text(), re.MULTILINE)]
    named = {target for text in code for target in re.findall(r"\bmake ([a-z][a-z0-9-]*)", text)}
    assert named <= TARGETS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    text = CODE.sub("", page.read_text())
    links = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r"""(?:src|href)=["']([^"']+)""", text)]
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}: no such heading"
