"""The generated files: written, compared, and equal to each other where they must be."""

import re
from pathlib import Path

import pytest
import yaml

from llmfleet.api.crd import HEADER
from llmfleet.cli.generate import chart_template, main, render_files


def _files() -> dict[str, str]:
    return {str(path): text for path, text in render_files().items()}


def test_every_kind_has_its_definition_chart_copy_and_page() -> None:
    assert set(_files()) == {
        "crds/llmfleet.dev_llmdeployments.yaml",
        "charts/llmfleet/templates/crds/llmdeployments.yaml",
        "docs/reference/llmdeployment.md",
    }


def _rendered(template: str, *, keep: bool) -> str:
    """Render the few constructs of the template as Helm does."""
    kept = re.sub(
        r"    \{\{- if \.Values\.crds\.keep \}\}\n(.*?)    \{\{- end \}\}\n",
        r"\1" if keep else "",
        template,
        flags=re.DOTALL,
    )
    enabled = re.fullmatch(r"(.*?)\{\{- if \.Values\.crds\.enabled \}\}\n(.*)\{\{- end \}\}\n", kept, re.DOTALL)
    assert enabled is not None
    return enabled[1] + re.sub(r'\{\{ "(.*?)" \}\}', r"\1", enabled[2])


def test_the_chart_copy_renders_to_the_definition() -> None:
    files = _files()
    rendered = _rendered(files["charts/llmfleet/templates/crds/llmdeployments.yaml"], keep=False)
    assert rendered == files["crds/llmfleet.dev_llmdeployments.yaml"]


def test_the_chart_can_protect_the_definition_from_uninstall() -> None:
    rendered = _rendered(_files()["charts/llmfleet/templates/crds/llmdeployments.yaml"], keep=True)
    assert yaml.safe_load(rendered)["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_braces_survive_the_template() -> None:
    text = "metadata:\n  annotations:\n    a: b\nrule: a{{ b }} {{{c}}} {d}\n"
    assert _rendered(chart_template(text), keep=False) == HEADER + text
    assert '{{ "{{" }} b {{ "}}" }}' in chart_template(text)


def test_files_are_written_once_and_then_fresh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("wrote ") == len(_files())
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--root", str(tmp_path), "--check"]) == 0
    assert capsys.readouterr().out == ""
    for path, text in _files().items():
        assert (tmp_path / path).read_text() == text


def test_a_stale_file_is_shown_and_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--root", str(tmp_path)])
    page = tmp_path / "docs/reference/llmdeployment.md"
    page.write_text(page.read_text().replace("# LLMDeployment\n", "# Something else\n"))
    (tmp_path / "crds/llmfleet.dev_llmdeployments.yaml").unlink()
    capsys.readouterr()
    assert main(["--root", str(tmp_path), "--check"]) == 1
    said = capsys.readouterr().out
    assert "-# Something else\n+# LLMDeployment\n" in said
    assert "more lines" in said
    assert said.endswith("2 generated file(s) do not match what they are made from: run make generate\n")
    assert "# Something else" in page.read_text()
