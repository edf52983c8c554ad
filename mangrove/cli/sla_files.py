"""SLAs as people keep them in files: JSON or YAML, read with bounds, and a first one to begin with."""

from __future__ import annotations

import re
from typing import IO, Any, ClassVar

import msgspec

from mangrove.base.errors import InvalidInput
from mangrove.model.validation import MAX_DEPTH, check_depth

#: Bytes of the largest SLA that is read: what a root takes as one request.
LARGEST = 1024 * 1024

#: Scalars that are not text, as YAML 1.2's core schema has them: of YAML 1.1 also `yes`, `1:30` and dates are
#: something else than text, which would make numbers of ports.
_SCALARS: tuple[tuple[str, str, str], ...] = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN"),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("tag:yaml.org,2002:float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?", "-+.0123456789"),
)


def read_sla(file: IO[bytes]) -> dict[str, Any]:
    """The document in a file, JSON or YAML. Raises InvalidInput, OSError."""
    text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise InvalidInput("FILE", f"is larger than {LARGEST} bytes, which is the most that a root takes")
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput("FILE", "is no text in UTF-8") from None
    raw = _json(decoded) if decoded.lstrip().startswith(("{", "[")) else _yaml(decoded)
    check_depth(raw)
    if not isinstance(raw, dict):
        raise InvalidInput("FILE", "is no SLA, which is an object: `mangrove init` writes one to begin with")
    return raw


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInput("FILE", f"begins as JSON but is none: {error}") from None


def _yaml(text: str) -> Any:
    import yaml

    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # many times faster, where libyaml is

    class Loader(base):  # type: ignore[valid-type, misc]
        """YAML 1.2's core schema, without anything that grows."""

        yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {}

    for tag, pattern, first in _SCALARS:
        Loader.add_implicit_resolver(tag, re.compile(rf"(?:{pattern})\Z"), list(first))
    Loader.add_implicit_resolver(_SCALARS[0][0], re.compile(r"\Z"), [""])
    try:
        depth = 0
        for event in yaml.parse(text, Loader=base):
            if isinstance(event, yaml.AliasEvent):
                raise InvalidInput("FILE", f"uses the alias *{event.anchor}: write out what it stands for")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MAX_DEPTH:
                raise InvalidInput("FILE", f"has lists and objects that are nested deeper than {MAX_DEPTH} levels")
        return yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise InvalidInput("FILE", f"is neither JSON nor YAML: {error.problem or error.context}{where}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidInput("FILE", f"is neither JSON nor YAML: {str(error).splitlines()[0]}") from None


def template(name: str, runtime: str) -> str:
    """A commented SLA in YAML, of one service that can be deployed as it is. runtime: `process` or `container`."""
    what = _PROCESS if runtime == "process" else _CONTAINER
    port = "18080:18080" if runtime == "process" else "18080:80"
    return _TEMPLATE.format(name=name, what=what, port=f'{port}"'.ljust(14))


_PROCESS = """\
        virtualization: process           # a plain process of the node
        code: python3                     # an executable that the node has
        cmd: [python3, -m, http.server, "18080"]"""

_CONTAINER = """\
        virtualization: container
        code: docker.io/library/nginx:latest    # the image
        # cmd: [nginx, -g, daemon off;]         # instead of the image's own command"""

_TEMPLATE = """\
# What shall run, for `mangrove deploy`; deploy it again after a change, `mangrove diff` shows first what that does.
sla_version: v2.0
customerID: Admin                         # asked for by the form, and not used

applications:
  - application_name: {name}               # letters and digits, at most 30
    application_namespace: default
    application_desc: ""

    microservices:
      - microservice_name: web            # then `{name}.web`, and its first instance `{name}.web.0`
        microservice_namespace: default
{what}

        memory: 64                        # MiB: reserved, and the most that an instance gets
        vcpus: 0                          # cores that are reserved
        # vgpus: 0                        # GPUs, chosen by the node
        # storage: 0                      # MiB of disk that are reserved

        port: "{port}              # published on the node: host, host:container, or host:container/udp;
                                          # several are separated by `;`
        environment:
          - GREETING=hello                # seen beside MANGROVE_SERVICE, MANGROVE_INSTANCE, MANGROVE_NODE and others

        # one_shot: true                  # a job: once it ends with exit code 0 it is done
        # arch: [amd64, arm64]            # run on these architectures only
        # constraints:                    # run on these clusters or nodes only
        #   - type: direct
        #     cluster: garage;attic
        #     node: node-1
        # disconnect:                     # while its node or cluster is not heard
        #   lost_after: 5m                # replace it elsewhere after so long, not after the lease (10 s); or never
        #   act_on_gone: true             # replace it a second after the connection broke
        #   stop_on_child_after: 30s      # the node stops its own copy, so that two never run at once
        #   on_return: keep_original      # the replacement goes when the node is back
        # volumes:                        # folders of the node
        #   - volume_id: /srv/data
        #     csi_driver: host
        #     mount_path: /data
        #     config: {{read_only: "true"}}
"""
