"""manifests/base: the chart's default render, for people who install with kubectl or kustomize."""

import re
from pathlib import PurePosixPath

from tests.generate.chart import by_template, objects, render

_HEADER = '# Rendered from charts/llmfleet by "make generate": change that, not this file.\n'
_FILES = {
    "rbac.yaml": ("serviceaccount.yaml", "rbac.yaml", "rbac-people.yaml"),
    "deployment.yaml": ("deployment.yaml",),
    "service.yaml": ("service.yaml",),
}
_OF_HELM = re.compile(r"^ +(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", re.MULTILINE)
"""Labels that would tell of a Helm release where there is none."""


def manifests() -> dict[PurePosixPath, str]:
    """Return the rendered files by their path; the CustomResourceDefinitions are in crds/ and not repeated here.

    Raises:
        RenderError: The chart does not render.
        ValueError: The chart has a template that no file takes up.
    """
    texts = {
        PurePosixPath(path).relative_to("templates").as_posix(): _OF_HELM.sub("", text)
        for path, text in by_template(render({"crds": {"enabled": False}})).items()
        if objects(text)  # helm writes out the comments of templates that give nothing
    }
    left = set(texts) - {template for templates in _FILES.values() for template in templates}
    if left:
        raise ValueError(f"{', '.join(sorted(left))}: say in {__name__} which file of manifests/base these belong to")
    return {
        PurePosixPath("manifests/base") / name: _HEADER + "---\n".join(_tidy(texts[path]) for path in templates)
        for name, templates in _FILES.items()
    }


def _tidy(text: str) -> str:
    """Drop the empty lines that template directives leave behind."""
    return re.sub(r"\n{2,}", "\n", text).strip("\n") + "\n"
