"""A program's log file: it holds all that the program writes, and no more than is allowed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import logging, os, sys
from pathlib import Path
from mangrove.base import log
log._FILE_SIZE = 10_000
log.set_up_logging("test", file=Path(sys.argv[1]))
logger = logging.getLogger("mangrove.test")
print("to standard output", flush=True)
logger.info("a record")
for number in range(int(sys.argv[2])):
    logger.info("record %d %s", number, "x" * 60)
os.system("echo from a child")
raise RuntimeError("the end")
"""


def run(file: Path, records: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, str(file), str(records)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_all_that_a_program_writes_is_in_its_log_down_to_its_last_words(tmp_path: Path) -> None:
    done = run(tmp_path / "log", 0)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[0] == "to standard output"
    assert lines[1].endswith("INFO test mangrove.test: a record")
    assert lines[2] == "from a child"
    assert lines[-1] == "RuntimeError: the end"


def test_it_is_bounded_and_keeps_what_is_newest(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run(log, 1000)
    assert {path.name for path in tmp_path.iterdir()} == {"log", "log.1"}
    assert log.stat().st_size < 11_000
    assert 9_000 < (tmp_path / "log.1").stat().st_size < 11_000
    text = (tmp_path / "log.1").read_text() + log.read_text()
    assert "record 999 x" in text
    assert "record 0 x" not in text
    assert log.read_text().splitlines()[-1] == "RuntimeError: the end"


def test_the_next_start_goes_on_in_the_same_file(tmp_path: Path) -> None:
    run(tmp_path / "log", 0)
    run(tmp_path / "log", 0)
    assert (tmp_path / "log").read_text().count("RuntimeError: the end") == 2


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    assert "FileNotFoundError" in run(tmp_path / "missing" / "log", 0).stderr


def test_a_program_that_seems_to_hang_says_what_its_threads_do(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = """
import os, signal, sys
from pathlib import Path
from mangrove.base.log import set_up_logging
set_up_logging("test", file=Path(sys.argv[1]))

def stuck():
    os.kill(os.getpid(), signal.SIGUSR1)

stuck()
print("goes on")
"""
    subprocess.run([sys.executable, "-c", program, str(log)], check=True, timeout=60)
    assert "in stuck\n" in log.read_text()
    assert log.read_text().endswith("goes on\n")


def test_what_is_announced_is_a_line_whatever_others_write_meanwhile(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = """
import logging, threading
from mangrove.base.log import announce, set_up_logging
set_up_logging("test")

def chatter():
    for _ in range(2000):
        logging.warning("chatter")

thread = threading.Thread(target=chatter)
thread.start()
while thread.is_alive():
    announce("an announcement")
"""
    with log.open("wb") as file:
        subprocess.run([sys.executable, "-u", "-c", program], check=True, timeout=60, stdout=file, stderr=file)
    lines = set(log.read_text().splitlines())
    assert {line for line in lines if not line.endswith("root: chatter")} == {"an announcement"}
