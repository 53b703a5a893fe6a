"""A model server on this machine: a real HTTP server that answers as a test says and remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], bytes]
"""Status, headers and body; status 0 hangs."""


class ModelServer:
    """Answers by a function of the place among all requests and of the body."""

    def __init__(self, reply: Callable[[int, dict[str, Any]], Reply]) -> None:
        self.asked: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.reply = reply
        self.hang = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                number = len(outer.asked)
                outer.asked.append((self.path, body, dict(self.headers)))
                status, headers, data = outer.reply(number, body)
                if status == 0:
                    outer.hang.wait(30)
                    return
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"


def chat_reply(text: Any = "A kind answer.", reason: Any = "stop") -> Reply:
    """Return what the chat interface answers."""
    return 200, {}, json.dumps({"choices": [{"message": {"content": text}, "finish_reason": reason}]}).encode()


@contextmanager
def serving(server: ModelServer) -> Iterator[None]:
    """Serve inside the block; what hangs is let go at its end."""
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.hang.set()
        server.http.shutdown()
        server.http.server_close()
        thread.join()
