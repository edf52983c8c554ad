"""The envelope of every message: who speaks in which session, how new it is, and a keyed hash that proves it.

Bytes: 32 hexadecimal digits of keyed blake2b-128 over topic and rest, then a header (a JSON array), a newline, and the
payload (JSON). A broker that lets anybody publish anything therefore opens nothing, and nothing old can be replayed.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b
from typing import Literal

import msgspec

from mangrove.base.errors import MangroveError
from mangrove.link.messages import PAYLOADS, PROTOCOL
from mangrove.link.tally import VERSION

Direction = Literal["up", "down"]

_MAC = 32
_encoder = msgspec.json.Encoder()
_decoders = {kind: msgspec.json.Decoder(type_) for kind, type_ in PAYLOADS.items()}


class BadMessage(MangroveError):
    """A message that is not what it should be. It is counted and dropped; nothing else follows from it."""


class Header(msgspec.Struct, frozen=True, array_like=True):
    """session: made by the child for each connect. sequence: rises within session, direction and kind.

    store, term: of the parent; empty and 0 on the way up.
    """

    protocol: int
    session: str
    sequence: int
    store: str = ""
    term: int = 0


_header = msgspec.json.Decoder(Header)


def topic_of(parent: str, child: str, direction: Direction, kind: str) -> str:
    """Where a message of this kind is published."""
    return f"mangrove/{parent}/{child}/{direction}/{kind}"


def seal(key: bytes, topic: str, header: Header, payload: msgspec.Struct) -> bytes:
    """The bytes of a message."""
    body = _encoder.encode(header) + b"\n" + _encoder.encode(payload)
    return _mac(key, topic, body) + body


def unseal(key: bytes, topic: str, data: bytes) -> tuple[Header, msgspec.Struct]:
    """Header and payload of a message that came on `topic`. Raises BadMessage; the payload's kind is the topic's."""
    body = data[_MAC:]
    if not hmac.compare_digest(_mac(key, topic, body), data[:_MAC]):
        raise BadMessage("the keyed hash is wrong")
    head, newline, rest = body.partition(b"\n")
    decoder = _decoders.get(topic.split("/", 4)[-1])
    if not newline or decoder is None:
        raise BadMessage("not an envelope")
    try:
        header = _header.decode(head)
        if header.protocol != PROTOCOL:
            raise BadMessage(f"{VERSION}{header.protocol}, and this side speaks {PROTOCOL}")
        return header, decoder.decode(rest)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadMessage(str(error)) from error


def _mac(key: bytes, topic: str, body: bytes) -> bytes:
    hasher = blake2b(topic.encode(), digest_size=_MAC // 2, key=key)
    hasher.update(b"\0")
    hasher.update(body)
    return hasher.hexdigest().encode()


class Lanes:
    """What is not newer than the newest heard is dropped, judged for each kind by itself.

    Kinds are apart because brokers keep the order within a topic only; a late report must not be lost because a beat
    overtook it.
    """

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, int]] = {}

    def admit(self, kind: str, header: Header) -> bool:
        """Whether this is news; remembers it if so. A parent that started anew counts anew, in a higher term."""
        newness = (header.term, header.sequence)
        if newness <= self._newest.get(kind, (0, 0)):
            return False
        self._newest[kind] = newness
        return True
