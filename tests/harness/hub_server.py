"""A local server of files at their paths, and of a Hub's list of the files of a model; cut off where it is asked to be."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hub:
    """files: by their path after the address, those of a model as "org/model/PATH"."""

    files: dict[str, bytes]
    models: tuple[str, ...] = ()
    url: str = ""
    cut_after: int | None = None  # bytes of an answer, of files longer than that
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)  # (path, Range, Authorization)

    def tree(self, model: str) -> list[Mapping[str, object]]:
        entries = []
        for path, content in self.files.items():
            if path.startswith(f"{model}/"):
                lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
                big = {"lfs": lfs} if len(content) > 1000 else {}
                entries.append(
                    {"type": "file", "path": path[len(model) + 1 :], "size": len(content), "oid": "0" * 40, **big}
                )
        return entries

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path, asked = handler.path.partition("?")[0].lstrip("/"), handler.headers["Range"]
        self.requests.append((path, asked, handler.headers["Authorization"]))
        for model in self.models:
            if path.startswith(f"api/models/{model}/tree/"):
                return self.send(handler, json.dumps(self.tree(model)).encode(), None)
            path = path.replace(f"{model}/resolve/main/", f"{model}/")
        if path not in self.files:
            return handler.send_error(404)
        self.send(handler, self.files[path], asked)

    def send(self, handler: BaseHTTPRequestHandler, body: bytes, asked: str | None) -> None:
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        rest = body[start:]
        with suppress(ConnectionError):
            handler.wfile.write(rest if self.cut_after is None else rest[: self.cut_after])


@contextmanager
def serving(files: dict[str, bytes], *models: str) -> Iterator[Hub]:
    hub = Hub(files, models)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        hub.url = f"http://127.0.0.1:{listener.server_port}"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hub
        finally:
            listener.shutdown()
            thread.join()
