"""A local HTTP server of one file that answers Range, and misbehaves on request."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from local_http import first_byte, listening, send


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
        start = first_byte(asked) if self.ranges else 0
        if self.status or start >= len(self.body):
            return handler.send_error(self.status or 416)
        send(handler, self.body, start, self.cut_after, self.says_length)


@contextmanager
def serving(body: bytes) -> Iterator[Server]:
    server = Server(body)
    with listening(server.answer) as address:
        server.url = f"{address}/files/tiny.tar.gz"
        yield server
