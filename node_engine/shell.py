"""The node's core with its threads: a loop, workers for operations, a thread that measures, and the transport's own."""

from __future__ import annotations

import argparse
import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import urlsplit

from mangrove import __version__
from mangrove.base.clock import Clock
from mangrove.base.ids import new_id
from mangrove.base.machine import address_towards
from mangrove.identity.messages import JoinReply
from mangrove.link.child import ChildIdentity
from mangrove.link.transports.interface import Broker, TransportEvent
from mangrove.link.transports.mqtt import MqttChildTransport
from mangrove.model.attempt import Usage
from mangrove.roles import readings
from mangrove.roles.bulk import ChildBulk
from mangrove.roles.child import unknown_method
from mangrove.roles.loop import Loop
from mangrove.roles.metrics import Sample
from node_engine.declared import declared_in
from node_engine.ended import Ended
from node_engine.fuse import FuseFile
from node_engine.logs import Logs
from node_engine.measuring import Measuring
from node_engine.network import Network, may_enter
from node_engine.node import Node
from node_engine.operations import Operation, Result
from node_engine.runtimes.choose import choose_runtimes
from node_engine.runtimes.docker_client import engine_address
from node_engine.runtimes.process import ProcessRuntime
from node_engine.state import StateFolder
from node_engine.status import NodeStatus, write_status
from node_engine.telemetry import Telemetry
from node_engine.workers import Workers

log = logging.getLogger(__name__)


class Shell:
    """A running node engine. options: those of the program. joined: what the cluster answered when the node joined."""

    def __init__(self, options: argparse.Namespace, state: StateFolder, joined: JoinReply, clock: Clock) -> None:
        self._state = state
        self._joined = joined
        self._clock = clock
        self._folder = state.path
        address = options.address or address_towards(urlsplit(joined.brokers[0].url).hostname or "")
        self._network = self._join_network(options, address)
        self.runtimes = choose_runtimes(
            options.runtimes, self._folder / "instances", state.installation, joined.child, self._network
        )
        ended = Ended(self._folder / "ended")
        processes = self.runtimes.get(ProcessRuntime.name)
        fuse = FuseFile(
            self._folder,
            state.boot,
            joined.child,
            instances=self._folder / "instances",
            groups=processes.groups if isinstance(processes, ProcessRuntime) else "",
            docker=engine_address() if "docker" in self.runtimes else "",
        )
        self._workers = Workers(
            self.runtimes,
            self._finished,
            self._progress,
            before_removal=lambda attempt, runtime: ended.keep(attempt, runtime, clock.wall()),
            before_start=lambda workload: fuse.expect() if workload.specification.disconnect.exclusive else None,
        )
        self._measuring = Measuring(
            Telemetry(self._folder, clock=clock),
            self.runtimes,
            clock,
            declared=declared_in(options),
            running=lambda: self.node.engine.running_workloads(),
            period=lambda: self.node.role.link.usage_period,
            session=lambda: self.node.role.link.settled_session,
            tell=self._measured,
            on_capacity=self._wake,
        )
        self._transport = MqttChildTransport(joined.parent, joined.child, self._received)
        self._bulk_transport = MqttChildTransport(joined.parent, joined.child, self._received_bulk, bulk=True)
        brokers = [Broker(access.url, access.username, access.password) for access in joined.brokers]
        identity = ChildIdentity(
            joined.parent,
            joined.child,
            bytes.fromhex(joined.link_key),
            joined.name,
            __version__,
            state.raise_incarnation(),
            state.boot,
        )
        self._bulk = ChildBulk(identity, self._bulk_transport, lambda: self.node.role.broker, clock)
        self._bulk_loop = Loop(self._bulk, clock, "streams")
        logs = Logs(
            self.runtimes,
            ended,
            self._bulk,
            record=lambda attempt: self.node.engine.record(attempt),
            term=lambda: self.node.role.link.welcomed_in,
            reply=lambda reply: self.node.role.link.reply(reply),
            to_loop=lambda event: self._loop.post(event),
            to_bulk=self._bulk_loop.post,
        )
        self.node = Node(
            identity,
            brokers,
            state,
            self.runtimes,
            self._transport,
            clock,
            cluster_store=joined.store,
            address=address,
            new_id=new_id,
            rng=random.Random(),
            capacity=lambda: self._measuring.capacity,
            run=self._workers.submit,
            pick_gpus=self._measuring.pick_gpus,
            fuse=fuse,
            answer=lambda call: logs.answer(call) if call.method == "logs" else unknown_method(call),
            network=self._network.networking if self._network is not None else None,
            on_network=self._network.publish if self._network is not None else lambda plan: None,
        )
        self.node.role.on_welcome = self._welcomed
        self._loop = Loop(self.node, clock, "engine")

    def start(self) -> None:
        """Begin; what was assigned before is taken up at once, with or without the cluster."""
        for name, runtime in self.runtimes.items():
            runtime.watch(partial(self._changed, name))
        if self._network is not None:
            self._network.start()
        self._loop.start()
        self._bulk_loop.start()
        self._measuring.start()

    def stop(self) -> None:
        """End. Instances go on running."""
        self._measuring.stop()
        self._loop.stop()
        self._bulk_loop.stop()
        self._bulk.broken("the node engine is ending")
        self._transport.close()
        self._bulk.close()
        self._workers.close()
        if self._network is not None:
            self._network.close()
        for runtime in self.runtimes.values():
            runtime.close()

    def _join_network(self, options: argparse.Namespace, address: str) -> Network | None:
        if options.network == "off":
            return None
        if options.runtimes != "docker" and not may_enter():
            log.info("no network between services: this engine may not enter network namespaces (run it as root)")
            return None
        return Network(self._folder / "network", address, self._wake)

    def readings(self) -> Iterator[Sample]:
        """What the node's metrics tell. May be called from any thread."""
        engine, measuring = self.node.engine, self._measuring
        yield from readings.disk(self._folder)
        yield from readings.loop(self._loop, self._clock)
        yield from readings.upwards(self.node.role.link, self._clock)
        for phase, count in engine.phases().items():
            yield Sample("engine_attempts", count, (str(phase),))
        for phase, count in engine.phases_entered.copy().items():
            yield Sample("attempt_phases_total", count, (str(phase),))
        for labels, count in self._workers.done.copy().items():
            yield Sample("engine_operations_total", count, labels)
        yield Sample("engine_state_writable", not engine.trouble)
        for id, usage in measuring.usage.items():
            slot = engine.slot_of(id)
            if not id:
                yield from readings.node(self._joined.child, self._joined.name, usage, measuring.capacity)
            elif slot is not None:
                yield from readings.instance(f"{slot[0]}.{slot[1]}", slot[0], usage)

    def post(self, event: Callable[[], None]) -> bool:
        """Let the engine's loop call `event`."""
        return self._loop.post(event)

    # Called from other threads: they only put something on the loop's queue.

    def _received(self, event: TransportEvent) -> None:
        self._loop.post(lambda: self.node.handle(event))

    def _received_bulk(self, event: TransportEvent) -> None:
        self._bulk_loop.post(lambda: self._bulk.handle(event))

    def _welcomed(self) -> None:
        self._bulk_loop.post(lambda: self._bulk.broken("the link to the cluster began anew"))

    def _finished(self, operation: Operation, result: Result) -> None:
        if operation.kind == "start":
            self._measuring.soon()
        self._loop.post(lambda: self.node.finished(operation, result))

    def _progress(self, attempt: str, text: str) -> None:
        self._loop.post(lambda: self.node.engine.progress(attempt, text, self._clock.now()))

    def _changed(self, runtime: str) -> None:
        self._loop.post(lambda: self.node.engine.poke(runtime, self._clock.now()))

    def _wake(self) -> None:
        self._loop.post(lambda: None)

    def _measured(self, news: dict[str, Usage]) -> None:
        self._loop.post(lambda: self._tell(news))

    def _tell(self, news: dict[str, Usage]) -> None:
        if news:
            self.node.measured(news)
        link = self.node.role.link
        with contextlib.suppress(OSError):  # that the disk is full, the engine tells
            write_status(
                self._folder,
                NodeStatus(
                    self._clock.wall(),
                    self._joined.name,
                    self._joined.child,
                    self._joined.parent_name,
                    link.state,
                    link.turned_away,
                    self.node.engine.trouble or self.node.role.trouble,
                    self._measuring.capacity,
                    self._measuring.usage,
                    list(self.node.engine.statuses().values()),
                ),
            )
