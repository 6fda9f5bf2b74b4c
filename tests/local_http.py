"""A local HTTP server, whatever answers; and an answer to Range that may be cut off."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def listening(answer: Callable[[BaseHTTPRequestHandler], object]) -> Iterator[str]:
    """The address at which every GET is answered so, while the context is open."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_port}"
        finally:
            listener.shutdown()
            thread.join()


def first_byte(asked: str | None) -> int:
    """Of a Range that goes to the end."""
    return int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0


def send(
    handler: BaseHTTPRequestHandler, body: bytes, start: int = 0, cut_after: int | None = None, says_length: bool = True
) -> None:
    """The body from byte `start` on, of which only so many bytes come before the connection closes."""
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    if says_length:
        handler.send_header("Content-Length", str(len(body) - start))
    handler.end_headers()
    rest = body[start:]
    with suppress(ConnectionError):  # a client may have had enough
        handler.wfile.write(rest if cut_after is None else rest[:cut_after])
