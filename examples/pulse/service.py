"""What the three services share: settings, a clean end, HTTP in and out."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

log = logging.getLogger("pulse")

#: Bytes of a request or answer: a summary of all that an analyst may hold is about half of it.
MAX_BODY = 1 << 20
#: Requests answered at once, and seconds for one: enough for people and sensors, and a slow one cannot stop the rest.
MAX_REQUESTS, REQUEST_TIMEOUT = 32, 5.0
#: Seconds between tries to reach another service: the first, and the longest.
FIRST_DELAY, LONGEST_DELAY = 0.25, 5.0


def begin(service: str) -> threading.Event:
    """Set up logging, and give the event that SIGTERM and SIGINT set."""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {service} %(message)s", datefmt="%H:%M:%S", force=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    log.info("started as %s", instance_name())
    return stop


def instance_name() -> str:
    """What the orchestrator calls this instance, with the beginning of its node's id; without one, host and pid."""
    name, node = os.environ.get("HOSTNAME"), os.environ.get("MANGROVE_NODE", "")
    if not name:
        return f"{socket.gethostname()}-{os.getpid()}"
    return f"{name}.{node[:6]}" if node else name


def setting(name: str, default: str | None = None) -> str:
    """An environment variable; ends the program when it is missing and has no default."""
    value = os.environ.get(name) or default
    if value is None:
        raise SystemExit(f"set the environment variable {name}")
    return value


def number_setting(name: str, default: str | None, lowest: float, highest: float) -> float:
    """The same for a number within bounds."""
    text = setting(name, default)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not lowest <= value <= highest:
        raise SystemExit(f"{name} must be a number from {lowest:g} to {highest:g}, not {text!r}")
    return value


class Backoff:
    """How long to wait after each failure: doubling, with jitter so that many do not come back in step."""

    def __init__(self) -> None:
        self.failures = 0

    def failed(self) -> float:
        """Seconds to wait after one more failure."""
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self.failures, 16))
        self.failures += 1
        return delay * random.uniform(0.5, 1.0)

    def succeeded(self) -> None:
        self.failures = 0


# ---- HTTP out --------------------------------------------------------------------------------------------------------

# Never through a proxy that the environment names: services talk to each other directly.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class CallFailed(Exception):
    """The other service could not be reached, or answered with an error. status: of the answer, 0 without one."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def call(url: str, body: Any = None) -> Any:
    """GET `url`, or POST `body` to it as JSON; the answer's JSON. Raises CallFailed."""
    data = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with _direct.open(request, timeout=REQUEST_TIMEOUT) as answer:
            return json.loads(answer.read(MAX_BODY))
    except urllib.error.HTTPError as error:
        with error:
            raise CallFailed(f"{url}: {error.code} {error.read(200)!r}", error.code) from None
    except (OSError, ValueError) as error:
        raise CallFailed(f"{url}: {getattr(error, 'reason', error)}") from None


# ---- HTTP in ---------------------------------------------------------------------------------------------------------


class Refused(Exception):
    """What a route raises to answer with an error. The message is for the asker."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """query: parameters behind the `?`."""

    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Page:
    """An answer that is HTML rather than JSON."""

    html: str
    status: int = 200


#: A method and a path to what answers: a `Page`, or anything that JSON can say.
Routes = Mapping[tuple[str, str], Callable[[Request], Any]]


@contextlib.contextmanager
def listening(routes: Routes) -> Iterator[None]:
    """Answer requests at HOST:PORT (environment) until the context ends; every service also answers /healthz."""
    host, port = setting("HOST", "127.0.0.1"), int(number_setting("PORT", None, 1, 65535))
    try:
        server = _Server((host, port), routes)
    except OSError as error:
        raise SystemExit(f"cannot listen at {host}:{port} (HOST, PORT): {error.strerror}") from None
    threading.Thread(target=server.serve_forever, args=(0.1,), name="http", daemon=True).start()
    log.info("listening at http://%s:%d", host, port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], routes: Routes) -> None:
        self.routes: Routes = {**routes, ("GET", "/healthz"): lambda _: {"ok": True, "instance": instance_name()}}
        self._room = threading.BoundedSemaphore(MAX_REQUESTS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(timeout=REQUEST_TIMEOUT):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("the connection to %s broke", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_TIMEOUT
    server: _Server

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        status, kind = 200, "application/json"
        try:
            found = self._route(method)
        except Refused as refused:
            status, found = refused.status, {"message": str(refused)}
        except OSError:  # the asker has gone, or is too slow: nobody to answer
            raise
        except Exception:
            log.exception("%s %s failed", method, self.path)
            status, found = 500, {"message": "this service has a fault; its log says more"}
        if isinstance(found, Page):
            status, kind, content = found.status, "text/html; charset=utf-8", found.html.encode()
        else:
            content = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Instance", instance_name())
        self.end_headers()
        self.wfile.write(content)

    def _route(self, method: str) -> Any:
        where = urlsplit(self.path)
        if (method, where.path) not in self.server.routes:
            raise Refused(f"there is no {method} {where.path} here", 404)
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            raise Refused(f"Content-Length must be at most {MAX_BODY}, not {length}", 413)
        request = Request(dict(parse_qsl(where.query)), self.rfile.read(int(length)))
        return self.server.routes[method, where.path](request)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)
