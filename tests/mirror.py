"""A web server on the loopback address that plays the part of a mirror, good or bad."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


class Mirror:
    """`answers` maps a path to what the server does when asked for it; `requests` records (method, path)."""

    def __init__(self, port: int) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, str]] = []
        self.port = port

    def url(self, path: str, answer: Answer) -> str:
        """The URL of `path`, which will get `answer`."""
        self.answers[path] = answer
        return f"http://127.0.0.1:{self.port}{path}"


def sends(body: bytes, *, announced: int | None = None, status: int = 200) -> Answer:
    """Send `body`, with a Content-Length of `announced` bytes if that is to be a lie."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body) if announced is None else announced))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    return answer


def hangs_up(request: BaseHTTPRequestHandler) -> None:
    """Drop the connection without a word."""
    request.close_connection = True


@contextmanager
def running() -> Iterator[Mirror]:
    """A server that runs until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mirror.requests.append((self.command, self.path))
            mirror.answers.get(self.path, sends(b"no such file", status=404))(self)

        do_HEAD = do_GET  # noqa: N815 (the name that http.server calls)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        mirror = Mirror(server.server_port)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield mirror
        finally:
            server.shutdown()
