"""Renders of the chart, looked at as objects."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.generate import chart

Object = dict[str, Any]
EXAMPLES = sorted(path.stem for path in Path(__file__).parent.joinpath("values").glob("*.yaml"))


def values_of(example: str) -> dict[str, Any]:
    """Return the values of an example."""
    return yaml.safe_load(Path(__file__).parent.joinpath("values", f"{example}.yaml").read_text()) or {}


@dataclass(frozen=True, slots=True)
class Render:
    """The objects that a set of values gives."""

    objects: tuple[Object, ...]

    def all(self, kind: str) -> list[Object]:
        return [found for found in self.objects if found["kind"] == kind]

    def one(self, kind: str) -> Object:
        (found,) = self.all(kind)
        return found

    @property
    def pod(self) -> Object:
        return self.one("Deployment")["spec"]["template"]

    @property
    def container(self) -> Object:
        (found,) = self.pod["spec"]["containers"]
        return found

    @property
    def env(self) -> dict[str, str]:
        return {variable["name"]: variable["value"] for variable in self.container["env"]}

    @property
    def own_rules(self) -> list[Object]:
        """The operator's own rules, without those for people."""
        roles = [
            role for role in [*self.all("ClusterRole"), *self.all("Role")] if "operator" in role["metadata"]["name"]
        ]
        return [rule for role in roles for rule in role["rules"]]


def render(**values: Any) -> Render:
    """Render the chart with these values."""
    return Render(tuple(chart.objects(chart.render(values))))


@cache
def example(name: str) -> Render:
    """Render the chart with the values of an example."""
    return render(**values_of(name))
