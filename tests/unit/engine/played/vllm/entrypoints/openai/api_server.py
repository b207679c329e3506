"""vLLM, played: the module that the launcher starts. Healthy at once, it answers what PLAYED_ANSWERS names.

PLAYED_ANSWERS is a JSON object of path to status and text. Other paths are not there, as in vLLM where a model does
not offer them.
"""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWERS = {"/health": [200, ""], **json.loads(os.environ.get("PLAYED_ANSWERS", "{}"))}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, text = ANSWERS.get(self.path, [404, '{"detail":"Not Found"}'])
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = int(sys.argv[sys.argv.index("--port") + 1])
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
