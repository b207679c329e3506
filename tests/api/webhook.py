"""A mutating admission webhook, as injectors of sidecars and defaults are: an HTTPS server that patches."""

import base64
import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.cluster.pki import Authority


@contextlib.contextmanager
def mutating_webhook(folder: Path, patch: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """Answer each admission review with this JSON patch while the context lasts.

    Args:
        folder: Where its certificates go.
        patch: RFC 6902 operations.

    Yields:
        `clientConfig` of a webhook configuration that leads there.
    """
    authority = Authority.create(folder, "webhook-ca")
    authority.issue("webhook", "webhook", sans=("127.0.0.1",))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(folder / "webhook.crt", folder / "webhook.key")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            response = {
                "uid": review["request"]["uid"],
                "allowed": True,
                "patchType": "JSONPatch",
                "patch": base64.b64encode(json.dumps(patch).encode()).decode(),
            }
            body = json.dumps({**review, "request": None, "response": response}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the tests' output to what tests say."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield {
            "url": f"https://127.0.0.1:{server.server_port}/mutate",
            "caBundle": base64.b64encode((folder / "webhook-ca.crt").read_bytes()).decode(),
        }
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
