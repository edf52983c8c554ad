"""The table of metrics follows Prometheus' rules, and what is shown is what stands in it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from mangrove.base.errors import InvalidInput
from mangrove.roles.exposition import Exposition
from mangrove.roles.metrics import BY_NAME, TABLE, Metric, Sample, series_of
from mangrove.roles.metrics_page import metrics_route, token_in
from mangrove.roles.requests import install_requests
from mangrove.roles.routes import register
from mangrove.roles.web import install_error_handlers


def shown(exposition: Exposition) -> dict[tuple[str, tuple[str, ...]], float]:
    """Each series that is on the page, by name and values of its labels."""
    families = text_string_to_metric_families(exposition.page().decode())
    return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_a_metric_is_named_as_prometheus_wants_it(metric: Metric) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]+[a-z]", metric.name)
    assert metric.help.endswith(".")
    assert metric.name.endswith("_total") is (metric.kind == "counter")
    assert metric.name.removesuffix("_total").endswith(metric.unit)
    assert metric.on


def test_no_name_is_there_twice() -> None:
    assert len(BY_NAME) == len(TABLE)


def test_what_sources_give_is_on_the_page_with_its_labels() -> None:
    def source() -> Iterator[Sample]:
        yield Sample("children", 3, ("live",))
        yield Sample("children", 1, ('sil"ent\n',))
        yield Sample("loop_failures_total", 2)

    page = shown(Exposition("root", [source]))
    assert page["mangrove_children", ("live",)] == 3
    assert page["mangrove_children", ('sil"ent\n',)] == 1
    assert page["mangrove_loop_failures_total", ()] == 2
    assert [name for name, _ in page if name == "mangrove_build_info"]
    assert page["process_resident_memory_bytes", ()] > 0


def test_a_source_that_fails_takes_nothing_else_away(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Iterator[Sample]:
        yield Sample("children", 3, ("live",))
        raise RuntimeError("broken")

    with caplog.at_level(logging.ERROR):
        page = shown(Exposition("root", [broken, lambda: [Sample("loop_failures_total", 2)]]))
    assert ("mangrove_children", ("live",)) not in page
    assert page["mangrove_loop_failures_total", ()] == 2
    assert "broken" in caplog.text


def test_requests_are_counted_by_route_and_not_by_path() -> None:
    exposition = Exposition("cluster", [])
    exposition.on_answered("GET", "/api/v1/nodes/<node>", 200, 0.003)
    exposition.on_answered("GET", "/api/v1/nodes/<node>", 200, 0.3)
    exposition.on_answered("BREW", "", 404, 0.0)
    page = shown(exposition)
    names = series_of(BY_NAME["http_request_seconds"])
    assert {name for name, _ in page if "http_request" in name} >= set(names)
    assert page["mangrove_http_request_seconds_count", ("GET", "/api/v1/nodes/<node>", "200")] == 2
    assert page["mangrove_http_request_seconds_count", ("other", "none", "404")] == 1
    assert page["mangrove_http_request_seconds_bucket", ("0.005", "GET", "/api/v1/nodes/<node>", "200")] == 1


def test_a_token_is_made_once_and_kept(tmp_path: Path) -> None:
    made = token_in(tmp_path / "token")
    assert token_in(tmp_path / "token") == made
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert token_in(tmp_path / "another") != made


@pytest.mark.parametrize("content", [b"", b"short", b"with space in it 1234", b"\xff" * 20, b"x" * 257])
def test_a_token_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(InvalidInput, match="--metrics-token-file"):
        token_in(tmp_path / "token")


TOKEN = "0123456789abcdef"


@pytest.fixture
def client() -> FlaskClient:
    app = Flask("site")
    exposition = Exposition("root", [])
    install_requests(app, exposition.on_answered)
    install_error_handlers(app)
    register(app, [metrics_route(exposition, TOKEN)], lambda route: None)
    return app.test_client()


@pytest.mark.parametrize("given", [None, "", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN, "Bearer é"])
def test_nobody_without_the_token_sees_metrics(client: FlaskClient, given: str | None) -> None:
    answer = client.get("/metrics", headers={} if given is None else {"Authorization": given})
    assert answer.status_code == 401
    assert "mangrove_" not in answer.text


def test_who_has_the_token_sees_them(client: FlaskClient) -> None:
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    assert "mangrove_build_info" in answer.text
    again = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
    assert 'mangrove_http_request_seconds_count{method="GET",route="/metrics",status="200"} 1.0' in again
