"""Reads a kubeconfig file: which server, which CA, which credentials.

Understood are tokens, token files and client certificates, inline or as files. Whatever else could be in the file and
would change who we talk to or as whom (exec plugins, auth providers, passwords, proxies) is refused with the
remedy, never ignored. Nothing here opens a connection.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from llmfleet.kube.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

_REFUSED_FOR_USER = {
    "exec": (
        "it gets credentials from an exec plugin, which llmfleet does not run; create a ServiceAccount, "
        "put the output of `kubectl create token` into a kubeconfig as `token`, and use that one"
    ),
    "auth-provider": "auth providers were removed from Kubernetes; use a token or a client certificate",
    "username": "API servers take no passwords any more; use a token or a client certificate",
}
_REFUSED_FOR_CLUSTER = {
    "proxy-url": "llmfleet does not speak through a proxy; use a kubeconfig that reaches the API server directly",
    "tls-server-name": "llmfleet checks the server's certificate against the URL; use a URL that is in it",
}


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """What one context of a kubeconfig says.

    Attributes:
        server: URL of the API server without a trailing slash.
        namespace: the context's namespace, `default` if it names none.
        ca_pem: CA certificates as PEM text; None means the machine's own trust store.
        insecure: the server's certificate is not checked.
        token: a bearer token.
        token_path: a file that holds the bearer token and may change.
        certificate_pem: client certificate as PEM text.
        key_pem: its private key as PEM text.
    """

    server: str
    namespace: str
    ca_pem: str | None
    insecure: bool
    token: str | None = field(repr=False)
    token_path: Path | None
    certificate_pem: str | None = field(repr=False)
    key_pem: str | None = field(repr=False)


def read_kubeconfig(path: Path, context: str | None = None) -> Kubeconfig:
    """Read one context of a kubeconfig file.

    Args:
        path: the file. Relative paths inside it are relative to its folder.
        context: the context's name; None takes `current-context`.

    Raises:
        ConfigurationError: the file cannot be read, is incomplete, or asks for something llmfleet does not do.
    """
    document = _load(path)
    name = context or document.get("current-context")
    if not name:
        raise ConfigurationError(
            f"{path} has no current-context; name a context, or set one with kubectl config use-context"
        )
    chosen = _named(document, "context", str(name), path)
    cluster_name, user_name = str(chosen.get("cluster") or ""), str(chosen.get("user") or "")
    cluster = _named(document, "cluster", cluster_name, path)
    user = _named(document, "user", user_name, path) if user_name else {}
    for section, title, refused in (
        (cluster, f"cluster {cluster_name}", _REFUSED_FOR_CLUSTER),
        (user, f"user {user_name}", _REFUSED_FOR_USER),
    ):
        for unsupported, remedy in refused.items():
            if section.get(unsupported):
                raise ConfigurationError(f"{path}: {title} has {unsupported}: {remedy}")
    server = str(cluster.get("server") or "").rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise ConfigurationError(f"{path}: cluster {cluster_name} needs a server with https:// or http://")
    certificate, key = _pem(user, "client-certificate", path), _pem(user, "client-key", path)
    if (certificate is None) != (key is None):
        raise ConfigurationError(f"{path}: user {user_name} needs both client-certificate and client-key, or neither")
    token_file = user.get("tokenFile")
    return Kubeconfig(
        server=server,
        namespace=str(chosen.get("namespace") or "default"),
        ca_pem=_pem(cluster, "certificate-authority", path),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        token=str(user["token"]) if user.get("token") else None,
        token_path=path.parent / str(token_file) if token_file else None,
        certificate_pem=certificate,
        key_pem=key,
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the kubeconfig {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        # The parser's own message quotes the line, which may hold a token.
        mark = getattr(error, "problem_mark", None)
        raise ConfigurationError(f"{path} is not YAML{f' (line {mark.line + 1})' if mark else ''}") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path} is not a kubeconfig")
    return document


def _named(document: dict[str, Any], kind: str, name: str, path: Path) -> dict[str, Any]:
    """Find the entry called `name` in the list of contexts, clusters or users."""
    entries = [entry for entry in document.get(f"{kind}s") or () if isinstance(entry, dict)]
    for entry in entries:
        if entry.get("name") == name and isinstance(entry.get(kind), dict):
            found: dict[str, Any] = entry[kind]
            return found
    known = ", ".join(sorted(str(entry.get("name")) for entry in entries)) or "none"
    raise ConfigurationError(f"{path} has no {kind} {name!r} (it has: {known})")


def _pem(section: dict[str, Any], key: str, path: Path) -> str | None:
    """Read PEM text given inline as `<key>-data` (base64), which wins, or as a file's path under `<key>`."""
    inline, file = section.get(f"{key}-data"), section.get(key)
    try:
        if inline:
            return base64.b64decode(str(inline), validate=False).decode("ascii")
        return (path.parent / str(file)).read_text(encoding="ascii") if file else None
    except (binascii.Error, UnicodeDecodeError):
        raise ConfigurationError(f"{path}: {key} is not PEM text (inline data is base64 of it)") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot read {key} {file}: {error.strerror}") from error
