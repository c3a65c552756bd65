"""A local HTTP server that plays the origin of a file: well, badly, and differently from one request to the next."""

import gzip
import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STALL = 3.0  # seconds for which a server says nothing more; longer than the timeout of a test


class Origin:
    """`body`: what is served. `steps`: what the first requests get instead, one each: a status, ("cut", n) for n bytes
    and the end of the connection, ("stall", n) for n bytes and silence. `ranges`: whether ranges are known; `length`:
    whether the length is said. `packed`: the server packs the body though nobody asked for it. `asked`: the Range
    header of each request.
    """

    def __init__(self, body: bytes, steps=(), ranges=True, length=True, packed=False):
        self.body, self.steps, self.ranges, self.length, self.packed = body, list(steps), ranges, length, packed
        self.asked: list[str | None] = []
        self.address, self.over = "", threading.Event()

    @property
    def version(self) -> str:
        return f'"{hashlib.sha256(self.body).hexdigest()[:12]}"'


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        origin = self.server.origin
        origin.asked.append(self.headers.get("Range"))
        step = origin.steps.pop(0) if origin.steps else None
        if isinstance(step, int):
            self.send_error(step)
            return
        body = gzip.compress(origin.body) if origin.packed else origin.body
        start, whole = 0, len(body)
        wanted = self.headers.get("Range")
        if wanted and origin.ranges and self.headers.get("If-Range") in (None, origin.version):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= whole:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{whole}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        else:
            self.send_response(200)
        self.send_header("Content-Type", "application/json")
        if origin.packed:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("ETag", origin.version)
        if origin.length:
            self.send_header("Content-Length", str(whole - start))
        self.end_headers()
        kind, count = step or ("whole", whole)
        self.wfile.write(body[start : min(whole, start + count)])
        self.wfile.flush()
        if kind == "stall":
            origin.over.wait(STALL)

    def log_message(self, *words):
        pass


@contextmanager
def serve(*args, **kwargs):
    """An Origin behind an address of this machine."""
    origin = Origin(*args, **kwargs)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.origin = True, origin
    origin.address = f"http://127.0.0.1:{server.server_port}/facts.json"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield origin
    finally:
        origin.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
