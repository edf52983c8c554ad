"""What a container engine has beside running containers, in the names that the constraint `addons` asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

#: A name that a constraint can have; engines call their own plug-ins `name:tag`.
_NAME = re.compile(r"[^\s;=\x00-\x1f\x7f]{1,100}")
#: Of all kinds together: half of the add-ons that a parent believes of one child, so that the operator's own fit too.
_MOST = 32
#: Where the engine's own description has them, and what we call the kind.
_PLUGINS = (("Volume", "volume-driver"), ("Network", "network-driver"))


def addons_of(info: Mapping[str, Any]) -> tuple[str, ...]:
    """From the engine's `/info`: OCI runtimes such as `oci-runtime/runsc`, and `volume-driver/…`, `network-driver/…`,
    in order. What is not as it should be is passed over."""
    return tuple(sorted(set(_named(info))))[:_MOST]


def _named(info: Mapping[str, Any]) -> Iterator[str]:
    runtimes, plugins = info.get("Runtimes"), info.get("Plugins")
    kinds: list[tuple[str, Any]] = [("oci-runtime", list(runtimes) if isinstance(runtimes, dict) else [])]
    if isinstance(plugins, dict):
        kinds += [(kind, plugins.get(field)) for field, kind in _PLUGINS]
    for kind, names in kinds:
        for name in names if isinstance(names, list) else []:
            if isinstance(name, str) and _NAME.fullmatch(name):
                yield f"{kind}/{name}"
