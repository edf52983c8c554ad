"""The threads that carry out the core's operations, and bring back how each ended."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping

from mangrove.base.clock import SystemClock
from mangrove.base.log import about
from node_engine.operations import STOP_GRACE, Operation, Result
from node_engine.runtimes.interface import Runtime, RuntimeFault, Workload

log = logging.getLogger(__name__)

#: Called from a worker thread with how an operation ended; must only put it on a queue and return.
Deliver = Callable[[Operation, Result], None]

#: Called from a worker thread with an attempt and a line on how its preparation goes; likewise.
OnProgress = Callable[[str, str], None]


class Workers:
    """A thread for each operation under way. The core bounds how many there are (`operations.WIDTH`), so none waits for
    another: a hanging pull, or a hanging runtime, holds up nothing else; and at rest there is no thread at all.
    """

    def __init__(
        self,
        runtimes: Mapping[str, Runtime],
        deliver: Deliver,
        on_progress: OnProgress,
        before_removal: Callable[[str, Runtime], None] = lambda attempt, runtime: None,
        before_start: Callable[[Workload], None] = lambda workload: None,
    ) -> None:
        """before_removal, before_start: called in the worker's thread with what is about to be; the second may raise
        RuntimeFault."""
        self._before_removal, self._before_start = before_removal, before_start
        self._runtimes = runtimes
        self._deliver = deliver
        self._on_progress = on_progress
        #: Operations that ended, by runtime, kind, and `ok` or `failed`.
        self.done: Counter[tuple[str, str, str]] = Counter()
        self._closing = threading.Event()
        self._threads: set[threading.Thread] = set()
        self._guard = threading.Lock()

    def submit(self, operation: Operation) -> None:
        """Begin to carry it out; returns at once. After `close` nothing is begun."""
        thread = threading.Thread(
            target=self._run, args=(operation,), name=f"{operation.runtime} {operation.kind}", daemon=True
        )
        with self._guard:
            if self._closing.is_set():
                return
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError as error:  # the machine allows no more threads
            with self._guard:
                self._threads.discard(thread)
            self._deliver(operation, RuntimeFault(f"{operation.kind} could not be begun: {error}"))

    def close(self, timeout: float = 5.0) -> None:
        """End: pulls are given up at their next sign of progress, and what still hangs after `timeout` seconds is left
        behind. Nothing is delivered any more; the next engine finds out by looking."""
        with self._guard:
            self._closing.set()
            threads = list(self._threads)
        clock = SystemClock()
        deadline = clock.now() + timeout
        for thread in threads:
            thread.join(max(0.0, deadline - clock.now()))

    def _run(self, operation: Operation) -> None:
        with about(operation.request):
            self._finish(operation)

    def _finish(self, operation: Operation) -> None:
        result: Result
        try:
            result = self._carry_out(operation)
        except RuntimeFault as fault:
            result = fault
        except BaseException as error:  # whatever it is, the attempt must not stay under way for ever
            log.exception("%s %s of %s", operation.runtime, operation.kind, operation.attempt or "everything")
            result = RuntimeFault(f"{operation.kind} failed: {type(error).__name__}: {error}")
        finally:
            with self._guard:
                self._threads.discard(threading.current_thread())
        outcome = "failed" if isinstance(result, RuntimeFault) else "ok"
        with self._guard:
            self.done[operation.runtime, operation.kind, outcome] += 1
        if not self._closing.is_set():
            self._deliver(operation, result)

    def _carry_out(self, operation: Operation) -> Result:
        runtime, attempt, workload = self._runtimes[operation.runtime], operation.attempt, operation.workload
        match operation.kind:
            case "list":
                return runtime.list()
            case "stop":
                runtime.stop(attempt, STOP_GRACE)
            case "kill":
                runtime.stop(attempt, 0.0)
            case "remove":
                self._before_removal(attempt, runtime)
                runtime.remove(attempt)
            case kind if workload is None:
                raise RuntimeFault(f"{kind} of {attempt} came without its workload")
            case "prepare":
                runtime.prepare(workload, lambda text: self._progress(attempt, text))
            case "attach":
                runtime.attach(workload)
            case "start":
                self._before_start(workload)
                return runtime.start(workload)
        return None

    def _progress(self, attempt: str, text: str) -> None:
        if self._closing.is_set():
            raise RuntimeFault("given up: the node engine is stopping")
        self._on_progress(attempt, text)
