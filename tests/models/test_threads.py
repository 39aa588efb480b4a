"""Pools of threads in processes that are interrupted."""

import signal
import subprocess
import sys
import threading
from contextvars import ContextVar

import pytest

from calbatch.models.threads import ThreadPool, defer_interrupts, map_in_daemons

# The thread runs and has returned from its start when the interrupt arrives.
PROGRAM = """
import signal, threading
from calbatch.models.threads import ThreadPool

start = threading.Thread.start

def start_and_interrupt(self):
    start(self)
    signal.raise_signal(signal.SIGINT)

pool = ThreadPool(1)
threading.Thread.start = start_and_interrupt
try:
    pool.submit(int)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_while_a_thread_is_started_leaves_no_thread_behind():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=240, check=True
    )
    assert done.stdout == "interrupted\n"


@pytest.fixture
def interruptible():
    """Let SIGINT raise KeyboardInterrupt, even in a background process."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_interrupts_are_deferred_to_the_end():
    reached = []

    def interrupt():
        with defer_interrupts():
            signal.raise_signal(signal.SIGINT)
            reached.append(True)

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert reached == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_default_actions_and_handlers_are_kept():
    handler = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # that of a coverage measurement
    try:
        before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        with defer_interrupts():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert {n: signal.getsignal(n) for n in before} == before
    finally:
        signal.signal(signal.SIGTERM, handler)


def test_in_other_threads_it_has_no_effect():
    found = []

    def look():
        with defer_interrupts():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]


def test_functions_are_called_in_the_context_of_their_submission():
    variable = ContextVar("variable")
    variable.set("ours")
    with ThreadPool(1) as pool:
        assert pool.submit(variable.get).result() == "ours"


@pytest.mark.parametrize("count", [0, 1, 3, 11])
def test_results_of_chunks_are_in_the_order_of_the_values(count):
    with ThreadPool(2) as pool:
        assert pool.map_in_chunks(str, range(count)) == list(map(str, range(count)))


def test_few_values_are_given_to_all_threads():
    together = threading.Barrier(4)
    with ThreadPool(4) as pool:
        turns = pool.map_in_chunks(lambda _: together.wait(60), range(4))
    assert sorted(turns) == [0, 1, 2, 3]


def test_daemons_return_results_in_order_and_raise_errors():
    assert map_in_daemons(str, [3, 1, 2], 2) == ["3", "1", "2"]
    assert map_in_daemons(str, [], 2) == []
    with pytest.raises(ZeroDivisionError):
        map_in_daemons(lambda value: 1 / value, [1, 0, 2], 2)
