"""A server of this machine that speaks as much of the Hugging Face hub's protocol as an upload needs."""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlparse

import yaml

TOKEN = "hf_of_this_test_alone"


class Hub(ThreadingHTTPServer):
    """Repositories by name, each its files by path; large files by their content, as the hub keeps them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.objects: dict[str, bytes] = {}
        self.uploads: list[str] = []
        self.fails: dict[str, int] = {}  # a status for each path that holds a word

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        if not self._allowed():
            return
        files = self.server.repositories[self._repository()]
        if "/tree/" in self.path:
            self._answer([{"type": "file", "path": p, "size": len(c), "oid": "0" * 40} for p, c in files.items()])
        else:
            self._answer({"id": self._repository(), "sha": "0" * 40, "siblings": [{"rfilename": p} for p in files]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self._allowed():
            return
        path = urlparse(self.path).path
        if path == "/api/validate-yaml":
            header = yaml.safe_load(json.loads(body)["content"].split("---")[1])
            self._answer({"errors": [], "warnings": []} if header["license"] else {"errors": [{"message": "licence"}]})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif "/preupload/" in path:
            asked = json.loads(body)["files"]
            modes = [("lfs" if one["path"].endswith(".safetensors") else "regular", one["path"]) for one in asked]
            self._answer({"files": [{"path": p, "uploadMode": mode, "shouldIgnore": False} for mode, p in modes]})
        elif path.endswith("/info/lfs/objects/batch"):
            self._answer({"transfer": "basic", "objects": [self._wanted(one) for one in json.loads(body)["objects"]]})
        elif "/commit/" in path:
            self._commit([json.loads(line) for line in body.splitlines() if line])

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = self.path.rpartition("/")[2]
        assert hashlib.sha256(body).hexdigest() == key
        self.server.objects[key] = body
        self.server.uploads.append(key)
        self._answer({})

    def _allowed(self) -> bool:
        status = next((code for word, code in self.server.fails.items() if word in self.path), 0)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            status = status or 401
        if status:
            self._answer({"error": "refused"}, status)
        return not status

    def _repository(self) -> str:
        return "/".join(urlparse(self.path).path.removeprefix("/api/models/").split("/")[:2])

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        url = {"url": f"{self.server.url}/{name}", "name": name}
        if name in self.server.repositories:
            self._answer(url | {"error": "it is there"}, 409)
            return
        self.server.repositories[name] = {".gitattributes": b""}
        self.server.private[name] = bool(asked.get("private") or asked.get("visibility") == "private")
        self._answer(url)

    def _wanted(self, one: dict[str, Any]) -> dict[str, Any]:
        if one["oid"] in self.server.objects:
            return one
        return one | {"actions": {"upload": {"href": f"{self.server.url}/lfs/{one['oid']}"}}}

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        files = self.server.repositories[self._repository()]
        for value, key in [(line["value"], line["key"]) for line in lines]:
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif key == "deletedFile":
                files.pop(value["path"])
        url = f"{self.server.url}/{self._repository()}/commit/{'0' * 40}"
        self._answer({"commitUrl": url, "commitOid": "0" * 40, "success": True})

    def _answer(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Silent."""
