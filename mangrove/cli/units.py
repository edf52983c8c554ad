"""The systemd unit of a program of ours: one template for root, cluster and node. Pure: settings in, text out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

#: Below it systemd makes a service's folder, and gives it to the service's user.
_STATE = PurePosixPath("/var/lib")
#: Seconds without a sign of life after which a program is started anew: beyond the longest that a write to a worn SD
#: card was seen to take, and far beyond any lease, within which instances would move.
_WATCHDOG = 60
#: Seconds to end in: a parent closes its store and broker in less than one, a busy small device needs some.
_END = 30
#: First version that waits longer from one restart to the next.
_BACK_OFF = 254
#: What plain processes as root, and the engine's care for them, may need: to own and open files of others, to end
#: them, to run as somebody else, to listen on low ports, and to read what processes and containers use.
_ROOTS = (
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_KILL CAP_SETGID CAP_SETUID CAP_NET_BIND_SERVICE CAP_SYS_PTRACE "
    "CAP_SYS_RESOURCE"
)


@dataclass(frozen=True)
class Unit:
    """A program as a service.

    role: `node`, say. user: empty for root. groups: more groups that it is in. data: where it keeps everything.
    guests: whether it starts processes of others, which stay when it ends and have other needs than ours. devices:
    whether it looks at GPUs. home: whether it has to read below /home or /root. writable: more that it may write.
    systemd: version, as newer ones can do more.
    """

    role: str
    command: tuple[str, ...]
    data: str
    user: str = ""
    groups: tuple[str, ...] = ()
    guests: bool = False
    devices: bool = False
    home: bool = False
    after: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    systemd: int = 252

    @property
    def name(self) -> str:
        return f"mangrove-{self.role}.service"

    @property
    def state_directory(self) -> str:
        """The data folder as systemd's StateDirectory, empty when it is elsewhere."""
        path = PurePosixPath(self.data)
        return str(path.relative_to(_STATE)) if path.is_relative_to(_STATE) and path != _STATE else ""


def unit_text(unit: Unit) -> str:
    """What to put into /etc/systemd/system."""
    lines = [
        f"# Written by `mangrove {unit.role} install`; `mangrove {unit.role} uninstall` removes it.",
        f"# To change something: systemctl edit {unit.name.removesuffix('.service')}",
        "[Unit]",
        f"Description=Mangrove {unit.role}",
        "Wants=network-online.target",
        f"After={' '.join(('network-online.target', *unit.after))}",
        "# However often it fails, it is tried again.",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
    ]
    lines += [f"{key}={value}" for key, value in (_service(unit) | _sandbox(unit)).items() if value is not None]
    lines += [f"Environment={quoted(f'{key}={value}')}" for key, value in sorted(unit.environment.items())]
    return "\n".join([*lines, "", "[Install]", "WantedBy=multi-user.target", ""])


def _service(unit: Unit) -> dict[str, str | None]:
    """Settings; None leaves one at its default, empty text is systemd's word for nothing at all."""
    restart: dict[str, str | None] = {"Restart": "on-failure", "RestartSec": "5"}
    if unit.systemd >= _BACK_OFF:
        restart |= {"RestartSec": "1", "RestartSteps": "6", "RestartMaxDelaySec": "60"}
    return {
        "Type": "notify",
        "ExecStart": " ".join(quoted(word) for word in unit.command),
        "User": unit.user or None,
        "SupplementaryGroups": " ".join(unit.groups) or None,
        **restart,
        "WatchdogSec": str(_WATCHDOG),
        "TimeoutStopSec": str(_END),
        # Instances are no part of the engine: they go on while it is restarted, upgraded or taken away. So does the
        # fuse, which ends those that must not go on for long, containers among them.
        "KillMode": "process" if unit.role == "node" else "mixed",
        "Delegate": "yes" if unit.guests else None,
        "OOMScoreAdjust": "-500",
        "LimitNOFILE": "65536",
        "StateDirectory": unit.state_directory or None,
        "StateDirectoryMode": "0700" if unit.state_directory else None,
        "UMask": "0077",
    }


def _sandbox(unit: Unit) -> dict[str, str | None]:
    own = "" if unit.state_directory else unit.data
    # A /tmp of its own would be emptied under the feet of instances that outlive the engine.
    shared = ("/tmp", "/var/tmp") if unit.guests else ()  # noqa: S108
    always: dict[str, str | None] = {
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ReadWritePaths": " ".join(quoted(path) for path in (own, *shared, *unit.writable) if path) or None,
        "ProtectHome": "read-only" if unit.guests or unit.home else "yes",
        "ProtectKernelTunables": "yes",
        "ProtectKernelModules": "yes",
        "ProtectKernelLogs": "yes",
        "ProtectHostname": "yes",
        "LockPersonality": "yes",
        "RestrictSUIDSGID": "yes",
        "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        "KeyringMode": "private",
    }
    if unit.guests:
        return always | {
            "CapabilityBoundingSet": "" if unit.user else _ROOTS,
            "SystemCallFilter": "~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap",
            "SystemCallErrorNumber": "EPERM",
        }
    return always | {
        "CapabilityBoundingSet": "" if unit.user else "CAP_DAC_OVERRIDE CAP_SYS_PTRACE",
        "SystemCallFilter": "@system-service",
        "SystemCallErrorNumber": "EPERM",
        "SystemCallArchitectures": "native",
        "PrivateTmp": "yes",
        "PrivateDevices": None if unit.devices else "yes",
        # Would close all devices that are not named, GPUs among them.
        "ProtectClock": None if unit.devices else "yes",
        "ProtectControlGroups": "yes",
        "MemoryDenyWriteExecute": "yes",
        "RestrictNamespaces": "yes",
        "RestrictRealtime": "yes",
        "RemoveIPC": "yes" if unit.user else None,
    }


def quoted(word: str) -> str:
    """A word as systemd reads it (systemd.service(5), command lines)."""
    word = word.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[\w@%+=:,./$-]+", word, re.ASCII):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
