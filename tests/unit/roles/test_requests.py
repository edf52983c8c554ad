"""Every answer has a request id, also in the log; and no line of the log holds what a client should not have sent."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from flask import Flask, request

from mangrove.base import log
from mangrove.base.errors import NotFound
from mangrove.roles.requests import HEADER, install_requests
from mangrove.roles.web import install_error_handlers

logger = logging.getLogger("tests.requests")


@pytest.fixture
def answered() -> list[tuple[str, str, int]]:
    return []


@pytest.fixture
def app(answered: list[tuple[str, str, int]]) -> Flask:
    app = Flask("site")
    install_requests(app, lambda method, route, status, seconds: answered.append((method, route, status)))
    install_error_handlers(app)

    @app.route("/things/<id>", methods=["GET", "POST"])
    def thing(id: str) -> str:
        request.environ["REMOTE_USER"] = "ann"
        logger.info("thing %s", id)
        if id == "none":
            raise NotFound("none there")
        if id == "broken":
            raise RuntimeError("broken")
        return log.request_id()

    return app


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What is logged, formatted as our programs do it."""
    written: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    handler = Handler()
    handler.setFormatter(log.text_formatter("site"))
    logging.getLogger().addHandler(handler)
    with caplog.at_level(logging.DEBUG):
        yield written
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("given", ["a", "0123-abc_DEF.9", "x" * 64])
def test_a_well_formed_id_is_kept(app: Flask, given: str) -> None:
    answer = app.test_client().get("/things/1", headers={HEADER: given})
    assert (answer.headers[HEADER], answer.text) == (given, given)


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "é", "a;b", "a/../b"])
def test_any_other_is_replaced_by_a_new_one(app: Flask, given: str) -> None:
    client = app.test_client()
    first, second = (client.get("/things/1", headers={HEADER: given}) for _ in range(2))
    assert log.is_request_id(first.headers[HEADER])
    assert given != first.headers[HEADER] != second.headers[HEADER]
    assert first.text == first.headers[HEADER]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("DELETE", "/things/1", 405),
        ("GET", "/things/none", 404),
        ("POST", "/things/broken", 500),
        ("OPTIONS", "/things/1", 200),
    ],
)
def test_whatever_becomes_of_a_request_it_is_counted_and_its_answer_has_an_id(
    app: Flask, answered: list[tuple[str, str, int]], method: str, path: str, status: int
) -> None:
    answer = app.test_client().open(path, method=method, headers={HEADER: "mine"})
    assert (answer.status_code, answer.headers.getlist(HEADER)) == (status, ["mine"])
    assert answered == [(method, "/things/<id>" if path != "/nowhere" and status != 405 else "", status)]


def test_every_line_of_a_request_carries_its_id_and_no_other_line_does(app: Flask, lines: list[str]) -> None:
    app.test_client().post("/things/1", headers={HEADER: "mine"})
    logger.info("later")
    assert [line.partition(": ")[2] for line in lines[:-2]] == ["[mine] thing 1"]
    assert lines[-2].partition(": ")[2].startswith("[mine] POST /things/1 200 ")
    assert lines[-2].endswith(" ms ann")
    assert lines[-1].endswith("tests.requests: later")


def test_a_line_holds_neither_query_nor_header_nor_body_and_stays_a_line(app: Flask, lines: list[str]) -> None:
    app.test_client().post(
        "/things/a%0Ab%1b%ff?token=secret1", headers={"Authorization": "Bearer secret2"}, data="secret3"
    )
    told = [line for line in lines if "POST" in line]
    assert len(told) == 1
    assert "/things/a%0Ab%1B%" in told[0]
    assert "secret" not in told[0]


def test_reading_is_told_in_detail_only(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mangrove.roles.requests"):
        app.test_client().get("/things/1")
        assert not [each for each in caplog.records if each.name == "mangrove.roles.requests"]


def test_a_line_of_json_has_the_id_and_the_parts_of_the_sentence(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        app.test_client().post("/things/1", headers={HEADER: "mine"})
    [record] = [each for each in caplog.records if each.name == "mangrove.roles.requests"]
    with log.about("mine"):
        line = json.loads(log.json_formatter("site").format(record))
    assert (line["request"], line["program"], line["method"], line["path"]) == ("mine", "site", "POST", "/things/1")
    assert (line["status"], line["user"]) == (200, "ann")
    assert "request" not in json.loads(log.json_formatter("site").format(record))


def test_what_is_done_later_in_another_thread_carries_the_id_too() -> None:
    seen: list[str] = []
    with log.about("mine"):
        later = log.carrying(lambda: seen.append(log.request_id()))
    later()
    with log.about("other"):
        later()
    log.carrying(lambda: seen.append(log.request_id()))()
    assert seen == ["mine", "mine", ""]
