"""A server that speaks so much of Weights & Biases' protocol that real wandb begins, logs, finishes and resumes runs.

GraphQL at /graphql, history and summary at /files/ENTITY/PROJECT/RUN/file_stream, files and artifacts at addresses that
it hands out: as wandb 0.31 speaks. What it was told is kept in `runs`. `trouble` makes it hang, answer a status, say
that a run was deleted, or die.
"""

import gzip
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "somebody"


def _project(name: str) -> dict[str, Any]:
    return {"id": "UHJvamVjdDox", "internalId": "1", "name": name, "entity": {"id": "1", "name": ENTITY}}


@dataclass
class Run:
    """What the server knows of one run."""

    name: str
    project: str
    fields: dict[str, Any] = field(default_factory=dict)  # displayName, groupName, jobType, tags
    config: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)  # by line
    summary: dict[str, Any] = field(default_factory=dict)
    exits: list[int] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    made: dict[str, dict[str, Any]] = field(default_factory=dict)  # artifacts by name
    used: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    preempting: bool = False

    def steps(self, key: str = "train/step") -> list[int]:
        return [line[key] for _, line in sorted(self.history.items()) if key in line]


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that go in the middle of an answer are what is tested."""


class WandbServer:
    """Begin it with `with`; `url` is for WANDB_BASE_URL."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.deleted: set[str] = set()
        self.asked: Counter[str] = Counter()  # operations, and file_stream
        self.lines = 0  # of history that came, the same one twice counted twice
        self.trouble: Callable[[str], int] = lambda _: 0  # of an operation: 0, a status to answer, or -1: hang
        self._artifacts: dict[str, dict[str, Any]] = {}
        self._http = _Http(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._over = threading.Event()

    def __enter__(self) -> "WandbServer":
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()

    def die(self) -> None:
        """No connection is taken any more, and none that waits is answered."""
        if not self._over.is_set():
            self._over.set()
            self._http.shutdown()
            self._http.server_close()

    def table(self, run: str, key: str) -> dict[str, Any]:
        """The table that a run's summary names."""
        found: dict[str, Any] = json.loads(self.runs[run].files[self.runs[run].summary[key]["path"]])
        return found

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __getattr__(self, name: str) -> Any:
                if name in ("do_GET", "do_POST", "do_PUT"):
                    return lambda: server._answer(self)
                raise AttributeError(name)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        told = json.loads(body) if request.path == "/graphql" else {}
        name = told["query"].split("(")[0].split("{")[0].split()[-1] if told else request.path.split("/")[-1]
        self.asked[name] += 1
        status = self.trouble(name)
        if status < 0:
            self._over.wait()
            time.sleep(0.1)
            request.close_connection = True
            return
        if status:
            self._send(request, status, {"errors": [{"message": f"status {status} on purpose"}]})
        elif told:
            self._send(request, *self._graphql(name, told.get("variables", {})))
        else:
            self._send(request, 200, self._file(request.path, body))

    def _send(self, request: BaseHTTPRequestHandler, status: int, value: Any) -> None:
        content = json.dumps(value).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _file(self, path: str, body: bytes) -> dict[str, Any]:
        """What comes to /files/ENTITY/PROJECT/RUN/file_stream, and files of runs and artifacts."""
        parts = path.strip("/").split("/")
        if parts[-1] == "file_stream":
            self._stream(self.runs[parts[3]], json.loads(body))
            return {"limits": {}}
        if parts[0] == "upload":
            self.runs[parts[1]].files["/".join(parts[2:])] = body
        return {}

    def _stream(self, run: Run, told: dict[str, Any]) -> None:
        for name, chunk in (told.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                for number, line in enumerate(chunk["content"]):
                    run.history[chunk["offset"] + number] = json.loads(line)
                    self.lines += 1
            elif name == "wandb-summary.json":
                run.summary = json.loads(chunk["content"][-1])
        if told.get("complete"):
            run.exits.append(int(told["exitcode"]))
        run.preempting |= bool(told.get("preempting"))

    def _graphql(self, name: str, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if name == "UpsertBucket" and given["name"] in self.deleted:
            name = f"{ENTITY}/{given['project']}/{given['name']}"
            text = f"run {name} was previously created and deleted; try a new run name"
            return 409, {"errors": [{"message": text, "extensions": {"code": "PERMISSION_ERROR"}}]}
        method = getattr(self, "on_" + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower(), None)
        if method is None:
            return 200, {"data": {}}
        return 200, {"data": method(given)}

    def on_viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        viewer = {"id": "1", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": {"edges": []}}
        return {"viewer": viewer}

    def on_run_resume_status(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(given["name"])
        if run is None:
            return {"model": None}
        last = [json.dumps(run.history[max(run.history)])] if run.history else []
        bucket = {
            "id": run.name,
            "name": run.name,
            "summaryMetrics": json.dumps(run.summary),
            "displayName": run.fields["displayName"],
            "logLineCount": 0,
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "historyTail": json.dumps(last),
            "eventsTail": "[]",
            "config": json.dumps(run.config),
            "tags": run.fields.get("tags") or [],
            "notes": "",
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {"model": _project(run.project) | {"bucket": bucket}}

    def on_upsert_bucket(self, given: dict[str, Any]) -> dict[str, Any]:
        inserted = given["name"] not in self.runs
        run = self.runs.setdefault(given["name"], Run(given["name"], given["project"]))
        told = {key: given[key] for key in ("displayName", "groupName", "jobType", "tags") if given.get(key)}
        run.fields |= told
        if given.get("config"):
            run.config |= json.loads(given["config"])
        if given.get("summaryMetrics"):
            run.summary = json.loads(given["summaryMetrics"])
        project = _project(run.project)
        bucket = {"id": run.name, "name": run.name, "displayName": run.fields["displayName"], "description": ""}
        more = {"config": json.dumps(run.config), "sweepName": None, "project": project}
        more["historyLineCount"] = len(run.history)
        return {"upsertBucket": {"bucket": bucket | more, "inserted": inserted}}

    def on_create_run_files(self, given: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": one, "uploadUrl": f"{self.url}/upload/{given['run']}/{one}"} for one in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    def on_notify_scriptable_run_alert(self, given: dict[str, Any]) -> dict[str, Any]:
        self.runs[given["runName"]].alerts.append(given)
        return {"notifyScriptableRunAlert": {"success": True}}

    def on_artifact_type(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"artifact": None}}

    def on_create_artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        """The same content under the same name is the same artifact, and committed before."""
        told = given["input"]
        key = f"{told['artifactCollectionName']}@{told['digest']}"
        made = self._artifacts.setdefault(key, {"id": key, "state": "PENDING", **told})
        if told["runName"]:
            self.runs[told["runName"]].made[told["artifactCollectionName"]] = made
        latest = {"id": key, "versionIndex": 0} if made["state"] == "COMMITTED" else None
        sequence = {"id": told["artifactCollectionName"], "latestArtifact": latest}
        return {"createArtifact": {"artifact": {"id": key, "state": made["state"], "artifactSequence": sequence}}}

    def on_create_artifact_manifest(self, given: dict[str, Any]) -> dict[str, Any]:
        name = f"{given['artifactID']}/{given['name']}"
        file = {"id": name, "name": given["name"], "displayName": given["name"]}
        file |= {"uploadUrl": f"{self.url}/artifacts/{name}", "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": name, "file": file}}}

    def on_update_artifact_manifest(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given["artifactManifestID"]
        file = {"id": name, "name": name, "displayName": name}
        file |= {"uploadUrl": f"{self.url}/artifacts/{name}", "uploadHeaders": []}
        return {"updateArtifactManifest": {"artifactManifest": {"id": name, "file": file}}}

    def on_create_artifact_files(self, given: dict[str, Any]) -> dict[str, Any]:
        edges = []
        for one in given["input"]["artifactFiles"]:
            name, artifact = one["name"], one["artifactID"]
            node = {"id": name, "name": name, "displayName": name, "storagePath": name, "uploadHeaders": []}
            node |= {"uploadUrl": f"{self.url}/artifacts/{artifact}/{name}", "uploadMultipartUrls": None}
            edges.append({"node": node | {"artifact": {"id": artifact}}})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def on_commit_artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        self._artifacts[given["artifactID"]]["state"] = "COMMITTED"
        artifact = {"id": given["artifactID"], "digest": self._artifacts[given["artifactID"]]["digest"]}
        return {"commitArtifact": {"artifact": artifact}}

    def on_use_artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        made = self._artifacts[given["input"]["artifactID"]]
        self.runs[given["input"]["runName"]].used[made["artifactCollectionName"]] = made
        return {"useArtifact": {"artifact": {"id": made["id"], "digest": made["digest"]}}}

    def on_server_features_query(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def on_organization_core_weave_organization_id(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"entity": None}

    def on_artifact_by_id(self, given: dict[str, Any]) -> dict[str, Any]:
        made = self._artifacts[given["id"]]
        project = _project(made["projectName"])
        sequence = {"__typename": "ArtifactSequence", "id": made["artifactCollectionName"], "project": project}
        artifact = {"__typename": "Artifact", "id": made["id"], "versionIndex": 0, "description": None}
        artifact["artifactSequence"] = sequence | {"name": made["artifactCollectionName"]}
        artifact |= {"artifactType": {"name": made["artifactTypeName"]}, "metadata": made["metadata"], "tags": []}
        artifact |= {"ttlDurationSeconds": -1, "ttlIsInherited": True, "historyStep": None, "state": "COMMITTED"}
        artifact |= {"size": 0, "digest": made["digest"], "commitHash": None, "fileCount": 1, "aliases": []}
        return {"artifact": artifact | {"createdAt": "2026-01-01T00:00:00", "updatedAt": None}}

    def on_get_default_entity(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": {"id": "1", "entity": ENTITY}}

    def on_run(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[given["name"]]
        found = {"id": run.name, "tags": run.fields.get("tags") or [], "name": run.name, "sweepName": None}
        found |= {"displayName": run.fields["displayName"], "state": "finished", "group": run.fields.get("groupName")}
        found |= {"config": json.dumps(run.config), "jobType": run.fields.get("jobType"), "commit": None, "notes": None}
        found |= {"readOnly": False, "createdAt": "2026-01-01T00:00:00", "heartbeatAt": "2026-01-01T00:00:00"}
        found |= {"description": "", "systemMetrics": "{}", "summaryMetrics": json.dumps(run.summary)}
        found["user"] = {"name": ENTITY, "username": ENTITY}
        found |= {
            "historyLineCount": len(run.history),
            "historyKeys": {"keys": {}, "lastStep": max(run.history, default=0)},
            "projectId": "1",
            "host": None,
        }
        return {"project": {"internalId": "1", "run": found}}
