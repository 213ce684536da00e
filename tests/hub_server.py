"""A small Hub on loopback: it speaks as much of the Hub's protocol as publishing and loading need.

Written from what `huggingface_hub` asks and expects. The data set `me/data` is kept as `datasets/me/data`. Not
covered: xet, discussions, gated repositories.
"""

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

WRITER, READER = "hf_writer_token", "hf_reader_token"
LARGE = (".safetensors", "tokenizer.json")


class RefusedError(Exception):
    def __init__(self, status: int, code: str = "", message: str = "", **more: str):
        self.status, self.code, self.message, self.more = status, code, message, more


@dataclass
class Repo:
    private: bool = False
    # By branch: commits, the newest last; a commit is its id, its message and its files (path -> blob).
    branches: dict[str, list[tuple[str, str, dict[str, str]]]] = field(default_factory=dict)
    pull_requests: int = 0

    def commit(self, branch: str, message: str, files: dict[str, str]) -> str:
        oid = hashlib.sha1(f"{branch}{message}{sorted(files.items())}{len(self.branches)}".encode()).hexdigest()
        self.branches.setdefault(branch, []).append((oid, message, dict(files)))
        return oid

    def at(self, revision: str) -> tuple[str, dict[str, str]]:
        if revision in self.branches:
            oid, _, files = self.branches[revision][-1]
            return oid, files
        for commits in self.branches.values():
            for oid, _, files in commits:
                if oid == revision:
                    return oid, files
        raise RefusedError(404, "RevisionNotFound")


class HubServer:
    """The Hub's state, and the thread that answers for it."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.anonymous: list[str] = []  # paths of requests without a token
        self.meanwhile: Callable[[str], None] | None = None  # called with the path of each request, once answered
        self.dies_at: str | None = None  # part of a path: at a request for it, the connection ends unanswered
        self._httpd = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._httpd.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._httpd.server_address[1]}"
        threading.Thread(target=self._httpd.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._httpd.shutdown()
        self._httpd.server_close()

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        return {path: self.blobs[blob] for path, blob in self.repos[repo_id].at(revision)[1].items()}

    def writes(self) -> list[str]:
        return [f"{method} {path}" for method, path in self.requests if method not in ("GET", "HEAD")]

    # ------------------------------------------------------------------ what the API does

    def create(self, user: str, body: dict[str, Any]) -> Any:
        owner = body.get("organization") or user
        if owner != user:
            raise RefusedError(403, message=f"You may not create a model in the namespace {owner!r}")
        repo_id = f"{'datasets/' if body.get('type') == 'dataset' else ''}{owner}/{body['name']}"
        exists = repo_id in self.repos
        if not exists:
            repo = self.repos[repo_id] = Repo(
                private=body.get("private") is True or body.get("visibility") == "private"
            )
            repo.commit("main", "initial commit", {".gitattributes": self.store(b"*.safetensors filter=lfs\n")})
        answer = {"url": f"{self.endpoint}/{repo_id}", "name": repo_id.removeprefix("datasets/"), "id": repo_id}
        if exists:
            raise RefusedError(409, message="You already created this model repo", **answer)
        return answer

    def validate_yaml(self, body: dict[str, Any]) -> Any:
        head = re.match(r"---\r?\n(.*?)\r?\n---", body["content"], re.DOTALL)
        errors = []
        try:
            values = yaml.safe_load(head.group(1)) if head else {}
            if not isinstance(values, dict):
                errors.append("metadata must be a mapping")
            else:
                errors += [f"{key} must be a list" for key in ("tags",) if not isinstance(values.get(key, []), list)]
                if values.get("license") not in (None, "apache-2.0", "cc-by-4.0", "mit", "other"):
                    errors.append(f"unknown license {values['license']}")
                for entry in values.get("model-index", []):
                    if not entry.get("name") or not all(
                        result["task"]["type"] and result["dataset"]["type"] and result["metrics"][0]["type"]
                        for result in entry["results"]
                    ):
                        errors.append("model-index is incomplete")
        except yaml.YAMLError as error:
            errors.append(str(error))
        if errors:
            raise RefusedError(400, message="; ".join(errors))
        return {"errors": [], "warnings": []}

    def preupload(self, repo: Repo, revision: str, body: dict[str, Any]) -> Any:
        files = repo.at(revision)[1]
        answer = []
        for each in body["files"]:
            mode = "lfs" if each["path"].endswith(LARGE) else "regular"
            entry = {"path": each["path"], "uploadMode": mode, "shouldIgnore": False}
            if each["path"] in files:
                entry["oid"] = self.oid(files[each["path"]], mode)
            answer.append(entry)
        return {"files": answer}

    def lfs_batch(self, body: dict[str, Any]) -> Any:
        objects = []
        for each in body["objects"]:
            entry = {"oid": each["oid"], "size": each["size"]}
            if each["oid"] not in self.blobs:
                entry["actions"] = {"upload": {"href": f"{self.endpoint}/lfs/{each['oid']}"}}
            objects.append(entry)
        return {"transfer": "basic", "objects": objects}

    def commit(self, repo_id: str, revision: str, lines: list[dict[str, Any]], create_pr: bool) -> Any:
        repo = self.repos[repo_id]
        files = dict(repo.at(revision)[1])
        message = ""
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = self.store(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.blobs:
                    raise RefusedError(400, message=f"{value['path']} was never uploaded")
                files[value["path"]] = value["oid"]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        answer: dict[str, Any] = {"success": True, "hookOutput": ""}
        if create_pr:
            repo.pull_requests += 1
            revision = f"refs/pr/{repo.pull_requests}"
            answer["pullRequestUrl"] = f"{self.endpoint}/{repo_id}/discussions/{repo.pull_requests}"
        oid = repo.commit(revision, message, files)
        return {**answer, "commitOid": oid, "commitUrl": f"{self.endpoint}/{repo_id}/commit/{oid}"}

    def info(self, repo_id: str, revision: str) -> Any:
        oid, files = self.repos[repo_id].at(revision)
        return {
            "id": repo_id,
            "modelId": repo_id,
            "sha": oid,
            "private": self.repos[repo_id].private,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [{"rfilename": path} for path in files],
        }

    def tree(self, repo: Repo, revision: str, folder: str, wanted: list[str] | None = None) -> Any:
        entries = []
        for path, blob in repo.at(revision)[1].items():
            if path not in wanted if wanted is not None else not path.startswith(f"{folder}/" if folder else ""):
                continue
            mode = "lfs" if path.endswith(LARGE) else "regular"
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(self.blobs[blob])}
            entry["oid"] = self.oid(blob, "regular")
            if mode == "lfs":
                entry["lfs"] = {"oid": blob, "size": entry["size"], "pointerSize": 130}
            entries.append(entry)
        if folder and not entries:
            raise RefusedError(404, "EntryNotFound")
        return entries

    def store(self, content: bytes) -> str:
        blob = hashlib.sha256(content).hexdigest()
        self.blobs[blob] = content
        return blob

    def oid(self, blob: str, mode: str) -> str:
        content = self.blobs[blob]
        return blob if mode == "lfs" else hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def _any(self) -> None:
            url = urlsplit(self.path)
            path, query = unquote(url.path), parse_qs(url.query)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.requests.append((self.command, path))
            if "Authorization" not in self.headers:
                hub.anonymous.append(path)
            if hub.dies_at is not None and hub.dies_at in path:
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return
            try:
                self._answer(path, query, body)
            except RefusedError as refused:
                content = json.dumps({"error": refused.message, **refused.more}).encode()
                headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
                self._send(refused.status, content, {key: value for key, value in headers.items() if value})
            if hub.meanwhile is not None:
                hub.meanwhile(path)

        do_GET = do_HEAD = do_POST = do_PUT = _any  # noqa: N815 - names that the base class looks for

        def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(key, value)
            if "Content-Length" not in (headers or {}):
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _user(self, write: bool) -> str | None:
            given = self.headers.get("Authorization")
            if given is None:
                if write:
                    raise RefusedError(401, message="Invalid username or password.")
                return None
            token = given.removeprefix("Bearer ")
            if token not in (WRITER, READER):
                raise RefusedError(401, message="Invalid credentials in Authorization header")
            if write and token != WRITER:
                raise RefusedError(403, message="This token has no write access")
            return "me"

        def _repo(self, repo_id: str, write: bool = False) -> Repo:
            user = self._user(write)
            repo = hub.repos.get(repo_id)
            if repo is None or (repo.private and user is None):
                raise RefusedError(404 if user else 401, "RepoNotFound", "Repository not found")
            return repo

        def _answer(self, path: str, query: dict[str, list[str]], body: bytes) -> None:
            if self.command == "PUT" and path.startswith("/lfs/"):
                if hashlib.sha256(body).hexdigest() != path.removeprefix("/lfs/"):
                    raise RefusedError(400, message="checksum mismatch")
                hub.store(body)
                self._send(200, b"")
                return
            found = re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+|refs/pr/\d+)/(.+)", path)
            if found:
                self._file(*found.groups())
                return
            self._send(200, json.dumps(self._api(path, query, body)).encode())

        def _api(self, path: str, query: dict[str, list[str]], body: bytes) -> Any:
            if path == "/api/whoami-v2":
                return {"type": "user", "name": self._user(True), "orgs": [], "auth": {"type": "access_token"}}
            if path == "/api/repos/create":
                return hub.create(str(self._user(True)), json.loads(body))
            if path == "/api/validate-yaml":
                return hub.validate_yaml(json.loads(body))
            found = re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)\.git/info/lfs/objects/batch", path)
            if found:
                self._repo(found.group(1), write=True)
                return hub.lfs_batch(json.loads(body))
            found = re.fullmatch(r"/api/(?:models/)?((?:datasets/)?[^/]+/[^/]+)(?:/([a-z-]+)(?:/(.+))?)?", path)
            if not found:
                raise RefusedError(404, message=f"no such endpoint: {path}")
            repo_id, action, rest = found.groups()
            write = action in ("preupload", "commit", "branch")
            repo = self._repo(repo_id, write)
            if action == "preupload":
                return hub.preupload(repo, rest, json.loads(body))
            if action == "commit":
                return hub.commit(
                    repo_id, rest, [json.loads(line) for line in body.splitlines()], "create_pr" in query
                )
            if action == "branch":
                if rest in repo.branches:
                    raise RefusedError(409, message="Reference already exists")
                repo.branches[rest] = list(repo.branches["main"])
                return {}
            if action == "tree":
                revision, _, folder = rest.partition("/")
                return hub.tree(repo, revision, folder)
            if action == "paths-info":
                return hub.tree(repo, rest, "", json.loads(body)["paths"])
            if action in (None, "revision"):
                return hub.info(repo_id, rest or "main")
            raise RefusedError(404, message=f"no such endpoint: {path}")

        def _file(self, repo_id: str, revision: str, name: str) -> None:
            commit, files = self._repo(repo_id).at(revision)
            if name not in files:
                raise RefusedError(404, "EntryNotFound", "Entry not found")
            content = hub.blobs[files[name]]
            headers = {
                "ETag": f'"{files[name]}"',
                "X-Repo-Commit": commit,
                "Accept-Ranges": "bytes",
                "Content-Type": "application/octet-stream",
                "Content-Length": str(len(content)),
            }
            part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            if part is None:
                self._send(200, content, headers)
                return
            start, end = int(part.group(1)), int(part.group(2) or len(content) - 1)
            piece = content[start : end + 1]
            headers["Content-Range"] = f"bytes {start}-{start + len(piece) - 1}/{len(content)}"
            headers["Content-Length"] = str(len(piece))
            self._send(206, piece, headers)

    return Handler
