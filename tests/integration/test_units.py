"""Units as systemd itself judges them, and installing into the files of a system that does not run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from mangrove.cli.main import main
from mangrove.cli.units import Unit, unit_text

#: Kinds of units, and how exposed each may be: systemd's own figure, 0 for not at all to 10. Those that run our code
#: alone are held to what is "OK" in its words; plain processes of others need more, as root, than that allows.
KINDS = [
    pytest.param(Unit("root", ("/bin/true",), "/var/lib/mangrove/root", user="daemon"), 2.0, id="root"),
    pytest.param(Unit("cluster", ("/bin/true",), "/srv/cluster", user="daemon", home=True), 2.1, id="cluster"),
    pytest.param(
        Unit("node", ("/bin/true",), "/var/lib/mangrove/node", user="daemon", groups=("daemon",), devices=True),
        2.9,
        id="containers",
    ),
    pytest.param(
        Unit("node", ("/bin/true",), "/var/lib/mangrove/node", guests=True, devices=True), 5.8, id="processes"
    ),
    pytest.param(Unit("node", ("/bin/true",), "/var/lib/mangrove/node", devices=True), 3.3, id="podman"),
]


def analyze(folder: Path, unit: Unit, *arguments: str) -> str:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (systemd)")
    path = folder / unit.name
    path.write_text(unit_text(unit))
    done = subprocess.run(
        ["systemd-analyze", *arguments, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    # Of other units of this machine it complains too.
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if unit.name in line)


@pytest.mark.parametrize(("unit", "most"), KINDS)
def test_it_is_understood_and_not_exposed(tmp_path: Path, unit: Unit, most: float) -> None:
    assert not analyze(tmp_path, unit, "verify")
    found = re.search(r"exposure level for \S+: (\S+)", analyze(tmp_path, unit, "security", "--offline=true"))
    assert found is not None
    assert float(found.group(1)) <= most


def test_words_are_quoted_as_systemd_reads_them(tmp_path: Path) -> None:
    unit = Unit("node", ("/bin/echo", 'a "b" c', "50%", "$HOME", "plain", "back\\slash"), "/var/lib/mangrove/node")
    [line] = [line for line in unit_text(unit).splitlines() if line.startswith("ExecStart=")]

    assert line == r'ExecStart=/bin/echo "a \"b\" c" 50%% $$HOME plain "back\\slash"'
    assert not analyze(tmp_path, unit, "verify")


def test_what_guards_instances_goes_on_without_the_engine() -> None:
    for guests in (True, False):
        assert "KillMode=process" in unit_text(Unit("node", ("/bin/true",), "/var/lib/mangrove/node", guests=guests))
    assert "KillMode=mixed" in unit_text(Unit("cluster", ("/bin/true",), "/var/lib/mangrove/cluster"))


def test_newer_versions_wait_longer_each_time() -> None:
    assert "RestartMaxDelaySec" not in unit_text(Unit("node", ("/bin/true",), "/var/lib/mangrove/node", systemd=252))
    assert "RestartMaxDelaySec=60" in unit_text(Unit("node", ("/bin/true",), "/var/lib/mangrove/node", systemd=254))


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """The files of a system that does not run."""
    if os.geteuid() != 0 or shutil.which("systemctl") is None:
        pytest.skip("services are installed as root only, and with systemctl")
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group", "shadow", "gshadow"):
        (tmp_path / "etc" / name).touch()
    return tmp_path


def mangrove(*arguments: str, answers: str = "") -> tuple[int, list[str]]:
    result = CliRunner().invoke(main, arguments, input=answers)
    return result.exit_code, result.output.splitlines()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_into_the_files_of_a_system_and_out_again(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mangrove.cli.service._closed_to", lambda path: None)  # this Python may be in root's home
    before = files(system)
    there = ("--into", str(system))

    assert mangrove("root", "install", *there, "--dry-run")[0] == 0
    assert files(system) == before

    code, said = mangrove("root", "install", *there, "--port", "12345")
    assert (code, said[-1]) == (
        0,
        f"The password of the user Admin is in {system}/var/lib/mangrove/root/admin.password",
    )
    unit = system / "etc/systemd/system/mangrove-root.service"
    assert "--port 12345 --admin-password-file /var/lib/mangrove/root/admin.password" in unit.read_text()
    assert (system / "etc/systemd/system/multi-user.target.wants/mangrove-root.service").is_symlink()
    assert "mangrove-root:" in (system / "etc/passwd").read_text()

    again = mangrove("root", "install", *there, "--port", "12345")[1]
    assert all(line.startswith("already so: ") for line in again[:-2])

    assert mangrove("root", "uninstall", *there, answers="n\n")[0] == 1
    assert unit.exists(), "one has to say yes"
    code, said = mangrove("root", "uninstall", *there, "--yes")
    assert (code, said[-1]) == (0, "Nothing of it is left on this machine.")
    assert {path for path in files(system) if not path.endswith("-")} <= before  # useradd keeps /etc/passwd-
    assert not (system / "var/lib/mangrove").exists()


@pytest.mark.parametrize("role", ["root", "cluster", "node"])
def test_a_folder_of_somebody_else_is_not_removed(system: Path, role: str) -> None:
    photo = system / "srv/photos/cat.jpg"
    photo.parent.mkdir(parents=True)
    photo.touch()

    code, said = mangrove(role, "uninstall", "--into", str(system), "--data-dir", "/srv", "--yes")
    assert (code, said[-1].partition(" is no data folder")[0]) == (4, f"Error: {system}/srv")
    assert photo.exists()


def test_data_kept_elsewhere_is_the_services_and_is_not_forgotten(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mangrove.cli.service._closed_to", lambda path: None)  # this Python may be in root's home
    there = ("--into", str(system))
    assert mangrove("root", "install", *there, "--data-dir", "/srv/my root")[0] == 0

    own = next(line for line in (system / "etc/passwd").read_text().splitlines() if line.startswith("mangrove-root:"))
    password = system / "srv/my root/admin.password"
    assert password.stat().st_uid == int(own.split(":")[2]), "the service could not read it"
    code, said = mangrove("root", "uninstall", *there, "--yes")
    assert code == 4
    assert "keeps its data elsewhere" in said[-1]
    assert (system / "etc/systemd/system/mangrove-root.service").exists(), "nothing is done by half"
    assert mangrove("root", "uninstall", *there, "--data-dir", "/srv/my root", "--yes")[0] == 0
    assert not (system / "srv/my root").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["node", "install"], "Error: CLUSTER: this node has not joined a cluster yet"),
        (["node", "install", "192.0.2.1"], "Error: --token: this node has not joined a cluster yet"),
        (["node", "install", "192.0.2.1", "--token", "x", "--runtimes", "lxc"], "Error: --runtimes: lxc is not one of"),
        (["cluster", "install", "--root", "192.0.2.1"], "Error: --token: this cluster has not joined a root yet"),
    ],
)
def test_what_is_missing_is_said_before_anything_changes(system: Path, arguments: list[str], said: str) -> None:
    code, lines = mangrove(*arguments, "--into", str(system))

    assert code == 2
    assert lines[-1].startswith(said)
    assert not (system / "etc/systemd").exists()
