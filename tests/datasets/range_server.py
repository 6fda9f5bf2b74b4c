"""A local HTTP server of one file that answers Range, and misbehaves on request."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    body: bytes
    url: str = ""
    ranges: bool = True  # whether Range is honoured
    says_length: bool = True  # whether it states the size
    cut_after: int | None = None  # bytes per answer, then the connection closes
    status: int | None = None  # answer this instead
    requests: list[str | None] = field(default_factory=list)  # the Range header of each request

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers["Range"]
        self.requests.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
        if self.status or start >= len(self.body):
            return handler.send_error(self.status or 416)
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        if self.says_length:
            handler.send_header("Content-Length", str(len(self.body) - start))
        handler.end_headers()
        rest = self.body[start:]
        with suppress(ConnectionError):  # a client may have had enough
            handler.wfile.write(rest if self.cut_after is None else rest[: self.cut_after])


@contextmanager
def serving(body: bytes) -> Iterator[Server]:
    server = Server(body)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server.url = f"http://127.0.0.1:{listener.server_port}/files/tiny.tar.gz"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()
