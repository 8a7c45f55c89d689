"""Units of work on threads, processes or a cluster, through joblib; results as they complete."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from caps_fast.errors import InputError
from caps_fast.interrupt import raising
from caps_fast.scenario import Scenario
from caps_fast.sweep.work import Outcome, work

CLUSTER = 32  # assumed number of threads of a cluster
TURN_S = 0.001  # longest wait for Python's lock of a thread that returns from a kernel of a few ms
Backend = Literal["threading", "loky", "dask"]
Unit = TypeVar("Unit")
Found = TypeVar("Found")


class Terminated(KeyboardInterrupt):
    """The process is to end (SIGTERM): treated like Ctrl-C, with its own exit code."""


class WorkersLost(RuntimeError):
    """Worker processes died, killed or out of memory; their current runs are not done."""


@dataclass(frozen=True)
class Workers:
    """The workers of a sweep.

    jobs        at a time; 0 = one per core (dask: one per thread of the cluster)
    backend     threads of this process (the kernel holds no lock), processes (loky), or a dask.distributed cluster
    address     the cluster's scheduler, host:port
    """

    jobs: int = 0
    backend: Backend = "threading"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.jobs < 0:
            raise InputError(f"jobs {self.jobs}: expected at least 1, or 0 for one per core")
        if (self.backend == "dask") != (self.address is not None):
            raise InputError(
                "backend dask and a cluster's address: expected both or neither, as in --backend dask --address "
                "host:8786"
            )

    @property
    def count(self) -> int:
        """Units at a time; for a cluster, an assumption unless `jobs` is set."""
        return self.jobs or (CLUSTER if self.backend == "dask" else int(cpu_count()))

    def map(self, units: Iterable[list[Scenario]], code: str, by_pool: bool = False) -> Generator[Outcome, None, None]:
        """Simulate all units, in any order (see `work`). Raises WorkersLost if worker processes died."""
        yield from self.each(partial(work, code=code, by_pool=by_pool), units)

    def each(self, task: Callable[[Unit], Found], units: Iterable[Unit]) -> Generator[Found, None, None]:
        """The results of `task` for each unit, as they complete. Raises WorkersLost if worker processes died."""
        with ExitStack() as stack:
            stack.enter_context(self._backend())
            warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
            jobs = (self.jobs or -1) if self.backend == "dask" else self.count
            parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs")
            try:
                yield from parallel(delayed(task)(unit) for unit in units)
            except _lost(self.backend) as error:
                raise WorkersLost(" ".join(str(error).split())) from None

    def _backend(self) -> AbstractContextManager[Any]:
        if self.backend == "dask":
            return _cluster(str(self.address))
        if self.count == 1:
            return nullcontext()
        return _threads() if self.backend == "threading" else parallel_config(self.backend)


def _lost(backend: Backend) -> tuple[type[Exception], ...]:
    """Exceptions that mean that workers are gone, not that the work is wrong."""
    if backend != "dask":
        return (TerminatedWorkerError,)
    from distributed import CancelledError, KilledWorker  # noqa: PLC0415 - optional
    from distributed.comm.core import CommClosedError  # noqa: PLC0415

    return (KilledWorker, CommClosedError, CancelledError)


@contextmanager
def _threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(TURN_S)
    try:
        with parallel_config("threading"):
            yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    try:
        from distributed import Client  # noqa: PLC0415 - optional
    except ImportError:
        raise InputError(
            "backend dask: dask.distributed is not installed; expected it, as by pip install 'caps-fast[dask]'"
        ) from None
    try:
        client = Client(address, timeout=10)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(
            f"address {address!r}: no dask scheduler answers there ({' '.join(str(error).split())}); expected host:port"
        ) from None
    with client, parallel_config("dask"):
        yield


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """A context in which SIGTERM raises Terminated in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, raising(Terminated))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
