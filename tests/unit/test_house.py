"""The house rules that tools check, seen to hold and seen to fail: who imports whom, and what a device gets."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).parents[2]
PACKAGES = ("mangrove", "root_orchestrator", "cluster_orchestrator", "node_engine", "netmanager")
SETUP = configparser.RawConfigParser()
SETUP.read(CHECKOUT / "setup.cfg")
CONTRACTS = [section for section in SETUP if section.startswith("importlinter:contract:")]

#: Of each contract, what breaks it: a file, and a line added at its end.
BREACHES = [
    ("layers", "mangrove/base/ids.py", "import mangrove.model.phases"),
    ("layers", "mangrove/store/__init__.py", "import mangrove.link"),
    ("layers", "mangrove/model/__init__.py", "import mangrove.roles"),
    ("layers", "mangrove/newcomer/__init__.py", ""),
    ("client", "mangrove/client/__init__.py", "import mangrove.store"),
    ("programs", "root_orchestrator/__init__.py", "import cluster_orchestrator"),
    ("shared", "mangrove/cli/__init__.py", "def later():\n    import node_engine"),
    ("device", "node_engine/main.py", "import flask"),
    ("device", "node_engine/main.py", "from node_engine.commands import __doc__ as text"),
    ("device", "node_engine/runtimes/__init__.py", "from mangrove.base import numbers"),
    ("pure", "mangrove/reconcile/__init__.py", "from time import monotonic"),
    ("pure", "mangrove/link/__init__.py", "import paho.mqtt.client"),
]


def lint_imports(folder: Path, contract: str) -> subprocess.CompletedProcess[str]:
    """Checks one contract on the packages in `folder`."""
    program = str(Path(sys.executable).with_name("lint-imports"))
    command = [program, "--no-logo", "--no-cache", "--contract", contract]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def empty_house(tmp_path: Path) -> Path:
    """The same modules with nothing in them."""
    for contract in CONTRACTS:
        SETUP[contract]["unmatched_ignore_imports_alerting"] = "none"  # exceptions match nothing in an empty house
    with (tmp_path / "setup.cfg").open("w") as file:
        SETUP.write(file)
    for module in (file for package in PACKAGES for file in (CHECKOUT / package).rglob("*.py")):
        empty = tmp_path / module.relative_to(CHECKOUT)
        empty.parent.mkdir(parents=True, exist_ok=True)
        empty.touch()
    return tmp_path


def test_every_contract_is_seen_to_fail_here() -> None:
    assert {name.rpartition(":")[2] for name in CONTRACTS} == {contract for contract, _, _ in BREACHES}


@pytest.mark.parametrize(("contract", "file", "line"), BREACHES)
def test_a_forbidden_import_breaks_its_contract(empty_house: Path, contract: str, file: str, line: str) -> None:
    (empty_house / "mangrove/base/numbers.py").write_text("import numpy\n")
    assert "1 kept, 0 broken" in lint_imports(empty_house, contract).stdout

    changed = empty_house / file
    changed.parent.mkdir(exist_ok=True)
    changed.write_text(f"{line}\n")
    assert "0 kept, 1 broken" in lint_imports(empty_house, contract).stdout


#: What a device must do without: distributions, as pip knows them.
NOT_ON_A_DEVICE = {"apscheduler", "cryptography", "flask", "numpy", "pyjwt", "pymongo", "pyyaml", "rich", "waitress"}


def brought_by(distribution: str, extras: frozenset[str]) -> set[str]:
    """Names of all distributions that pip installs for it, itself included, as their metadata here says."""
    found = set()
    waiting = [(distribution, extras)]
    seen = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        found.add(name)
        try:
            requirements = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:
            assert name != "mangrove", "mangrove is not installed here: run make .venv/.installed-dev"
            continue  # for another platform or Python
        for requirement in requirements:
            if any(
                requirement.marker is None or requirement.marker.evaluate({"extra": extra}) for extra in wanted | {""}
            ):
                waiting.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return found


@pytest.mark.parametrize("extras", ["node", "node,docker", "net"])
def test_a_device_installs_only_what_it_needs(extras: str) -> None:
    brought = brought_by("mangrove", frozenset(extras.split(",")))
    assert "paho-mqtt" in brought
    assert not brought & NOT_ON_A_DEVICE


def test_the_check_of_what_a_device_installs_sees_what_a_root_installs() -> None:
    assert brought_by("mangrove", frozenset({"root"})) >= {"flask", "werkzeug", "pymongo", "apscheduler", "rich"}


def modules_loaded_by(statement: str) -> set[str]:
    """Top-level names of what a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint('\\n'.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


#: What the running daemon must do without: modules.
NOT_IN_A_DAEMON = {
    *("apscheduler", "click", "cryptography", "dns", "flask", "jwt", "numpy"),
    *("prometheus_client", "pymongo", "rich", "waitress", "werkzeug"),
}


def daemon_modules() -> list[str]:
    """All modules of the device's programs, but for the commands, which only the command line loads."""
    files = [file for program in ("node_engine", "netmanager") for file in (CHECKOUT / program).rglob("*.py")]
    names = {".".join(file.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__") for file in files}
    return sorted(names - {"node_engine.commands", "node_engine.installing", "netmanager.commands"})


def test_the_daemon_loads_only_what_it_needs() -> None:
    loaded = modules_loaded_by(f"import {', '.join(daemon_modules())}")
    assert "node_engine" in loaded
    assert not loaded & NOT_IN_A_DAEMON


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("node status --data-dir none", 1, "no engine has run with none"),
        ("node join 127.0.0.1:1 --token x --data-dir none", 1, "nothing listens on http://127.0.0.1:1"),
        ("node run --help", 0, "--data-dir"),
        ("node install --help", 0, "Let systemd run the node engine here"),
        ("doctor --offline", None, "disk: "),
        ("top", 1, "top needs rich, which is not installed: pip install 'mangrove[cli]'"),
    ],
)
def test_a_device_joins_runs_and_is_looked_after_without_tables(
    tmp_path: Path, command: str, code: int | None, said: str
) -> None:
    without = "import sys; sys.modules.update(rich=None, yaml=None); from mangrove.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", without, *command.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert code in (None, done.returncode), done.stderr
    assert said in done.stdout + done.stderr


def test_the_docker_sdk_is_loaded_only_where_docker_is_used() -> None:
    assert not modules_loaded_by("import node_engine.main") & {"docker", "requests"}


def test_the_link_does_without_dnspython_and_leaves_it_to_others() -> None:
    pytest.importorskip("dns.resolver", reason="dnspython, which pymongo brings, is not installed")
    assert "dns" in modules_loaded_by("import mangrove.link.transports.mqtt, dns.resolver")
    assert "dns" not in modules_loaded_by("import mangrove.link.transports.mqtt")
