"""The pages say what the code does, no more and no less; links lead somewhere; commands in the README exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner

from docs.reference.pages import PAGES as GENERATED
from mangrove.base.digest import hex_of
from mangrove.cli.failures import Code
from mangrove.cli.main import main as mangrove
from mangrove.identity.messages import BrokerAccess, JoinReply, JoinRequest, LeaveRequest
from mangrove.link.envelope import Header, topic_of, unseal
from mangrove.link.messages import DOWN_KINDS, PAYLOADS, QOS, UP_KINDS, Beat
from mangrove.link.sync import entry_hash
from mangrove.model.attempt import Attempt, Status
from mangrove.model.child import NodeView
from mangrove.model.phases import Phase
from mangrove.model.specification import Specification
from mangrove.network.plan import Endpoint, Grant, Peer, Ranges, ServiceEntry

CHECKOUT = Path(__file__).parents[2]
PROTOCOL = (CHECKOUT / "docs/protocol.md").read_text()
README = (CHECKOUT / "README.md").read_text()
FRONT = CHECKOUT / "docs/index.md"  # of the site, where pages are that MkDocs makes from the code
PAGES = [CHECKOUT / "README.md", *sorted(CHECKOUT.glob("docs/**/*.md")), *sorted(CHECKOUT.glob("examples/**/*.md"))]

#: What travels, beside the payloads themselves: entries of channels, which are decoded later, and what HTTP carries.
_BEGIN = (
    *(Header, Attempt, Status, NodeView, Specification, JoinRequest, JoinReply, BrokerAccess, LeaveRequest),
    *(Ranges, Grant, Peer, ServiceEntry, Endpoint),
)


def structs() -> dict[str, type[msgspec.Struct]]:
    """All that travels, by the heading that it has on the page: kinds by their name, what they carry by its own."""
    found: dict[str, type[msgspec.Struct]] = dict(PAYLOADS)

    def add(type_: object) -> None:
        if isinstance(type_, msgspec.inspect.StructType):
            if type_.cls not in found.values():
                found[type_.cls.__name__] = type_.cls
            for field in type_.fields:
                add(field.type)
        elif isinstance(type_, msgspec.inspect.UnionType):
            for one in type_.types:
                add(one)
        elif isinstance(type_, msgspec.inspect.VarTupleType):
            add(type_.item_type)
        elif isinstance(type_, msgspec.inspect.DictType):
            add(type_.value_type)

    for info in msgspec.inspect.multi_type_info([*PAYLOADS.values(), *_BEGIN]):
        add(info)
    return found


def rows(heading: str) -> list[str]:
    """What the first column of the table below a heading names."""
    begin = PROTOCOL.find(f"\n### `{heading}`\n")
    if begin < 0:
        return []
    section = PROTOCOL[begin + 1 :]
    section = section[: section.find("\n#", 1)]
    return re.findall(r"^\| `([a-z0-9_]+)` \|", section.partition("| field |")[2].partition("\n\n")[0], re.MULTILINE)


@pytest.mark.parametrize("heading", structs())
def test_every_field_that_travels_is_on_the_page(heading: str) -> None:
    assert rows(heading) == list(structs()[heading].__struct_fields__)


def test_the_page_describes_nothing_that_does_not_travel() -> None:
    assert set(re.findall(r"^### `(.+)`$", PROTOCOL, re.MULTILINE)) == structs().keys()


def test_every_kind_is_on_the_page_with_its_direction_and_quality() -> None:
    table = re.findall(r"^\| \[`(\w+)`\]\(#\w+\) \| (up|down) \| ([01]) \|", PROTOCOL, re.MULTILINE)
    assert sorted(table) == sorted(
        (kind, direction, str(QOS[kind]))
        for direction, kinds in (("up", UP_KINDS), ("down", DOWN_KINDS))
        for kind in kinds
    )


def test_every_phase_is_on_the_page() -> None:
    line = next(line for line in PROTOCOL.splitlines() if line.startswith("| `phase` |"))
    assert re.findall(r"`(\w+)`", line)[1:] == [phase.value for phase in Phase]


def test_the_example_of_an_envelope_is_one() -> None:
    begin, payload = re.findall(r"^ {4}([0-9a-f]{32}\[.*\])\n {4}(\[.*)$", PROTOCOL, re.MULTILINE)[0]
    topic = topic_of("a1" * 12, "b2" * 12, "up", "beat")
    assert f"`{topic}`" in PROTOCOL
    header, beat = unseal(bytes(range(32)), topic, f"{begin}\n{payload}".encode())
    assert header.sequence == 7
    assert isinstance(beat, Beat)


def test_the_example_of_a_digest_is_right() -> None:
    id, entry, digest = re.findall(r'^ {4}"(\w+)": (\{.*\})\n\nhas the digest `(\w+)`', PROTOCOL, re.MULTILINE)[0]
    assert hex_of(entry_hash(id, entry.encode())) == digest


# -- links


def links(page: Path) -> Iterator[str]:
    """Targets of the page's links and pictures that lead to other places here."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(page: Path) -> set[str]:
    """What can follow a `#` in a link to the page, as GitHub makes it from headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        file, _, anchor = target.partition("#")
        place = page.parent / file if file else page
        if page == FRONT and file in GENERATED:
            continue
        assert place.exists(), f"{target} is not there"
        assert not anchor or anchor in anchors(place), f"{target}: there is no such heading"


# -- commands


def words(program: str) -> list[list[str]]:
    """The arguments of each use of a program in the README's code, in blocks and in sentences."""
    lines = re.findall(r"^ {4}(.*)$", README, re.MULTILINE) + re.findall(r"`([^`\n]+)`", README)
    uses = (re.finditer(rf"(?:^|[\s(/]){program} ([^|;&)#`]*)", line) for line in lines)
    return [use[1].split() for found in uses for use in found]


def test_make_targets_in_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    used = {word for arguments in words("make") for word in arguments if "=" not in word}
    assert {"demo", "test"} <= used <= targets


def test_commands_in_the_readme_exist_with_their_options() -> None:
    used = words("mangrove")
    assert {"up", "down"} <= {arguments[0] for arguments in used if arguments}
    for arguments in used:
        command: click.Command = mangrove
        path: list[str] = []
        rest = list(arguments)
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            path.append(rest.pop(0))
            known = command.get_command(click.Context(command), path[-1])
            assert known is not None, f"`mangrove {' '.join(path)}` is no command"
            command = known
        shown = CliRunner().invoke(mangrove, [*path, "--help"])
        assert shown.exit_code == 0, shown.output
        for option in (word.partition("=")[0] for word in rest if word.startswith("--")):
            assert re.search(rf"{option}\b", shown.output), f"`mangrove {' '.join(path)}` knows no {option}"


@pytest.mark.parametrize("page", ["docs/command-line.md", "docs/decisions/0020-the-command-line.md"])
def test_every_exit_code_is_on_the_page(page: str) -> None:
    named = re.findall(r"^\| (\d+) \| ", (CHECKOUT / page).read_text(), re.MULTILINE)
    assert [int(code) for code in named] == [code.value for code in Code]
