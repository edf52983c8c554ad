"""SLAs in files: JSON and YAML are read alike, with bounds; `mangrove init` writes one that is right."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest

from mangrove.base.errors import InvalidInput
from mangrove.cli.sla_files import LARGEST, read_sla, template
from root_orchestrator.api.oakestra.sla import read_sla as as_a_root_reads_it
from tests.unit.cli.conftest import CommandLine


def read(text: str | bytes) -> dict[str, Any]:
    return read_sla(io.BytesIO(text if isinstance(text, bytes) else text.encode()))


def test_json_and_yaml_say_the_same() -> None:
    document = {"sla_version": "v2.0", "applications": [{"a": 1, "b": [True, None, 1.5, "x"]}]}
    yaml = "sla_version: v2.0\napplications:\n  - a: 1\n    b: [true, null, 1.5, x]\n"
    assert read(json.dumps(document)) == read(yaml) == document
    assert read(b"\xef\xbb\xbf" + json.dumps(document).encode()) == document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8080:8", "8080:8"),  # YAML 1.1 would make it 484808
        ("yes", "yes"),
        ("off", "off"),
        ("2026-01-01", "2026-01-01"),
        ("010", "010"),
        ("1_000", "1_000"),
        ("0x1f", "0x1f"),
        ("true", True),
        ("~", None),
        ("", None),
        ("-3", -3),
        ("1e3", "1e3"),
        ("1.0e+3", 1000.0),
    ],
)
def test_what_looks_like_something_else_stays_text(text: str, value: object) -> None:
    assert read(f"a: {text}\n") == {"a": value}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "begins as JSON but is none"),
        ("a: [", "is neither JSON nor YAML: .* in line"),
        ("a: b: c", "is neither JSON nor YAML: mapping values are not allowed in this context in line 1, column 5"),
        ("a: !!python/object/apply:os.system [id]", "is neither JSON nor YAML: could not determine a constructor"),
        ("a: &x [1]\nb: *x", r"uses the alias \*x: write out what it stands for"),
        ("a: &a [x]\nb: &b [*a,*a]\nc: &c [*b,*b]", "uses the alias"),
        ("[" * 40 + "]" * 40, "nested deeper than 32 levels"),
        ("a: " + "[" * 40 + "]" * 40, "nested deeper than 32 levels"),
        ("- " * 5000 + "x", "nested deeper than 32 levels"),
        ("a: " + "[" * 200_000, "nested deeper than 32 levels"),
        ("[" * 200_000, "begins as JSON but is none|nested deeper"),
        (b"\xff\xfe", "is no text in UTF-8"),
        ("just words", "is no SLA, which is an object"),
        ("", "is no SLA, which is an object"),
        ("a: 1\n---\nb: 2", "is neither JSON nor YAML"),
        (b"a: \x07", "is neither JSON nor YAML"),
        ("x" * (LARGEST + 1), f"is larger than {LARGEST} bytes"),
        ("? [a]\n: 1", "is neither JSON nor YAML|keys"),
    ],
)
def test_what_is_no_sla_is_refused_with_a_reason(text: str | bytes, problem: str) -> None:
    with pytest.raises(InvalidInput, match=f"FILE: .*({problem})|{problem}"):
        read(text)


@pytest.mark.parametrize("runtime", ["process", "container"])
def test_the_template_is_an_sla_also_with_its_comments_taken_off(runtime: str) -> None:
    text = template("tide", runtime)
    (application,) = as_a_root_reads_it(read(text))
    assert (application.name, application.services[0].name) == ("tide", "web")
    head, rest = text.split("\n", 1)
    assert head.startswith("# ")
    bare = re.sub(r"^( +)# (?=[a-z -])", r"\1", rest, flags=re.MULTILINE)
    bare = re.sub(r"^ +several are separated.*$", "", bare, flags=re.MULTILINE)
    (application,) = as_a_root_reads_it(read(bare))
    specification = application.services[0].specification
    assert specification.one_shot
    assert specification.architectures == ("amd64", "arm64")
    assert specification.volumes[0].read_only
    assert specification.constraints[0].cluster == "garage;attic"


def test_init_writes_a_file_once(cli: CommandLine) -> None:
    said = cli("init", "--name", "tide")
    assert said.code == 0
    assert "`mangrove deploy sla.yaml` runs it" in said.error
    text = (cli.home / "sla.yaml").read_text()
    assert "application_name: tide" in text
    said = cli("init")
    assert said.code == 4
    assert "sla.yaml is there already: --force replaces it" in said.error
    assert cli("init", "--force").code == 0
    assert "application_name: hello" in (cli.home / "sla.yaml").read_text()
    assert cli("init", "-", "--name", "tide").output == text
    assert cli("init", "--name", "a b").code == 2
