"""The few requests that the cluster tool itself sends to the API server, with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any

from tests.cluster.errors import ClusterError

_TIMEOUT_S = 10.0


class Api:
    """A client of one API server on this machine, as an administrator.

    Every request raises ClusterError where nobody answers, and where the answer is a refusal.
    """

    def __init__(self, port: int, pki: Path) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def ready(self) -> bool:
        """Tell whether the API server answers and is ready."""
        try:
            return self._send("GET", "/readyz", None, "application/json")[0] == http.HTTPStatus.OK
        except ClusterError:
            return False

    def get(self, path: str) -> dict[str, Any] | None:
        """Return the object or list at that path, None if there is none."""
        status, body = self._send("GET", path, None, "application/json")
        return None if status == http.HTTPStatus.NOT_FOUND else self._checked("GET", path, status, body)

    def apply(self, path: str, obj: dict[str, Any]) -> None:
        """Create or change an object by server-side apply."""
        path = f"{path}?fieldManager=cluster-tool&force=true"
        self._checked("PATCH", path, *self._send("PATCH", path, obj, "application/apply-patch+yaml"))

    def patch(self, path: str, operations: list[dict[str, Any]]) -> None:
        """Change an object by a JSON patch."""
        self._checked("PATCH", path, *self._send("PATCH", path, operations, "application/json-patch+json"))

    def _send(self, method: str, path: str, body: object, content_type: str) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._tls, timeout=_TIMEOUT_S)
        try:
            payload = None if body is None else json.dumps(body).encode()
            connection.request(method, path, body=payload, headers={"Content-Type": content_type})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ClusterError(
                f"the API server at 127.0.0.1:{self._port} does not answer {method} {path}: {error}",
                advice="look whether the cluster still runs, and bring it up again; it may have been taken down",
            ) from error
        finally:
            connection.close()

    @staticmethod
    def _checked(method: str, path: str, status: int, body: bytes) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(body)
        if status >= http.HTTPStatus.BAD_REQUEST:
            raise ClusterError(f"{method} {path}: {status} {answer.get('message', '')}")
        return answer
