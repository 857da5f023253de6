"""A stand-in for Grafana's HTTP API: keeps folders, data sources and dashboards, and can be told to fail.

Paths, status codes and shapes follow Grafana's published HTTP API (folders, data_source, dashboard, ds/query); it adds
defaults of its own to what it stores, as Grafana does.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "glsa_test"


class FakeGrafana:
    def __init__(self) -> None:
        self.folders: dict[str, dict[str, Any]] = {}
        self.datasources: dict[str, dict[str, Any]] = {}
        self.boards: dict[str, dict[str, Any]] = {}
        self.writes: list[tuple[str, str]] = []
        self.failures: list[int] = []
        """Status codes to answer the next requests with."""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Keep the test's output clean."""

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"null")
                authorised = self.headers.get("Authorization") == f"Bearer {TOKEN}"
                if fake.failures:
                    status, answer = fake.failures.pop(0), {"message": "told to fail"}
                elif not authorised:
                    status, answer = 401, {"message": "Invalid API key"}
                else:
                    status, answer = fake.answer(self.command, self.path.removeprefix("/api"), body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = _serve

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, verb: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        if verb != "GET" and path != "/ds/query":
            self.writes.append((verb, path))
        parts = path.strip("/").split("/")
        match (verb, *parts):
            case ("GET", "folders", uid):
                return (200, self.folders[uid]) if uid in self.folders else (404, {"message": "folder not found"})
            case ("POST", "folders"):
                self.folders[body["uid"]] = {**body, "id": len(self.folders) + 1, "version": 1}
                return 200, self.folders[body["uid"]]
            case ("DELETE", "folders", uid):
                if self.folders.pop(uid, None) is None:
                    return 404, {"message": "folder not found"}
                self.boards = {key: board for key, board in self.boards.items() if board["meta"]["folderUid"] != uid}
                return 200, {"message": "deleted"}
            case ("GET", "datasources", "uid", uid):
                if uid not in self.datasources:
                    return 404, {"message": "Data source not found"}
                return 200, {k: v for k, v in self.datasources[uid].items() if k != "secureJsonData"}
            case ("GET", "datasources", "uid", uid, "health"):
                return (200, {"status": "OK", "message": "ok"}) if uid in self.datasources else (404, {"message": "no"})
            case ("POST", "datasources"):
                if body["uid"] in self.datasources:
                    return 409, {"message": "data source with the same name already exists"}
                self.datasources[body["uid"]] = {**body, "id": 7, "isDefault": False, "basicAuth": False}
                return 200, {"message": "Datasource added"}
            case ("PUT", "datasources", "uid", uid):
                self.datasources[uid].update(body)
                return 200, {"message": "Datasource updated"}
            case ("DELETE", "datasources", "uid", uid):
                return (200, {}) if self.datasources.pop(uid, None) else (404, {"message": "no"})
            case ("GET", "dashboards", "uid", uid):
                return (200, self.boards[uid]) if uid in self.boards else (404, {"message": "Dashboard not found"})
            case ("POST", "dashboards", "db"):
                board, uid = body["dashboard"], body["dashboard"]["uid"]
                if uid in self.boards and not body.get("overwrite"):
                    return 412, {"message": "The dashboard has been changed by someone else"}
                if body["folderUid"] not in self.folders:
                    return 400, {"message": "folder not found"}
                version = self.boards[uid]["dashboard"]["version"] + 1 if uid in self.boards else 1
                self.boards[uid] = {
                    "dashboard": {**board, "id": 9, "version": version},
                    "meta": {"folderUid": body["folderUid"], "folderTitle": self.folders[body["folderUid"]]["title"]},
                }
                return 200, {"uid": uid, "version": version, "status": "success"}
            case ("POST", "ds", "query"):
                query = body["queries"][0]
                frame = {"schema": {}, "data": {"values": [[1, 2, 3], [1.0, 2.0, 3.0]]}}
                return 200, {"results": {query["refId"]: {"status": 200, "frames": [frame]}}}
        return 404, {"message": f"no {verb} {path} here"}
