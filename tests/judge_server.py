"""A judge for tests: an endpoint of this process that speaks OpenAI's protocol and says what it is told to say."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = tuple[int, object]


class Server(ThreadingHTTPServer):
    """An endpoint that answers by `plan`, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, plan: Callable[[dict, int], Reply]) -> None:
        self.plan, self.bodies, self.keys, self.lock = plan, [], set(), threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.keys.add(self.headers.get("Authorization"))
            number = len(self.server.bodies)
        status, content = self.server.plan(body, number)
        if status == 0:  # hang up
            self.connection.close()
            return
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Retry-After", "0.01")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        return


def said(text: str | None) -> Reply:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    return 200, {"id": "x", "choices": [{"index": 0, "message": message}], "usage": usage, "system_fingerprint": "fp"}
