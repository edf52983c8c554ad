"""The node's own metrics over HTTP, only when it was asked for them: what they need is loaded only then."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mangrove.base.errors import InvalidInput, Unavailable
from mangrove.roles.metrics import Sample


def serve_metrics(host: str, port: int, readings: Callable[[], Iterable[Sample]]) -> Callable[[], None]:
    """Show `readings` to whoever asks at host and port, in threads; what ends it. Raises InvalidInput, Unavailable."""
    try:
        from prometheus_client import start_http_server

        from mangrove.roles.exposition import Exposition
    except ImportError:
        raise InvalidInput("--metrics-port", "needs prometheus-client: pip install 'mangrove[metrics]'") from None
    try:
        server, thread = start_http_server(port, host, Exposition("node", [readings]).registry)
    except (OSError, OverflowError) as error:
        raise Unavailable(f"metrics cannot be shown at {host}:{port}: {error}; see --metrics-port") from None

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join(5.0)

    return stop
