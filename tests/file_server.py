"""An HTTP server of this machine with one file, which can cut its answers off, change the file, and refuse."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ROWS = b"".join(json.dumps({"question": f"{n}?", "answer": str(n)}).encode() + b"\n" for n in range(20_000))
PIN = f"sha256:{hashlib.sha256(ROWS).hexdigest()}"


class Server(ThreadingHTTPServer):
    """Serves `content`; `cut` bytes at most come in each of the first `cuts` answers."""

    content, version, cut, cuts, status = ROWS, '"one"', 100_000, 0, 200
    ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/rows.jsonl"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = 0
        if asked and server.ranges and self.headers.get("If-Range") == server.version:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", server.version)
        self.end_headers()
        if server.cuts:
            server.cuts -= 1
            body = body[: server.cut]
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Silent."""
