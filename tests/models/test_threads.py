"""Threads in processes that are interrupted, and the cancellation of work that waits."""

import signal
import subprocess
import sys
import threading
from contextvars import ContextVar, copy_context

import pytest
from support.waiting import GENEROUS, eventually

from calbatch.models.threads import (
    CancelledError,
    CancelScope,
    ThreadPool,
    call_in_daemon,
    check_cancelled,
    defer_interrupts,
    map_in_daemons,
    pause,
)

LONG = 100 * GENEROUS

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


def test_a_call_of_a_pool_that_fails_cancels_those_after_it():
    pool = ThreadPool(2)
    with pytest.raises(ZeroDivisionError):
        pool.map_in_chunks(divide_slowly, [0, 1])
    pool.shutdown()  # waits for its threads


def divide_slowly(value):
    """Return the inverse of a number, after a long time unless it is zero."""
    if value:
        pause(LONG)
    return 1 / value


def test_daemons_return_results_in_order_and_raise_errors():
    assert map_in_daemons(str, [3, 1, 2], 2) == ["3", "1", "2"]
    assert map_in_daemons(str, [], 2) == []
    with pytest.raises(ZeroDivisionError):
        map_in_daemons(lambda value: 1 / value, [1, 0, 2], 2)


def test_a_daemon_returns_a_result_or_raises_an_error():
    assert call_in_daemon(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        call_in_daemon(lambda: 1 / 0)


def test_cancelled_work_does_not_wait_for_its_daemons():
    before = threading.active_count()
    begun, released = threading.Event(), threading.Event()
    values = []

    def wait_regardless(value):
        values.append(value)
        begun.set()
        released.wait()

    with CancelScope() as scope:
        threading.Thread(target=lambda: begun.wait() and scope.cancel()).start()
        with pytest.raises(CancelledError):
            map_in_daemons(wait_regardless, range(9), 1)
    released.set()
    eventually(lambda: threading.active_count() <= before)
    assert values == [0]


@pytest.mark.parametrize("_", range(10))
def test_a_call_that_fails_because_its_work_is_cancelled_is_cancelled(_):
    asked, failing, ended = (threading.Event() for _ in range(3))

    def hang_up():
        failing.set()
        ended.wait(GENEROUS)

    def fail():
        asked.set()
        failing.wait(GENEROUS)
        raise ConnectionError("the other end hung up")

    def cancel():
        asked.wait(GENEROUS)
        work.cancel()

    with CancelScope() as work:
        work.call_when_cancelled(hang_up)  # before or after the cancellation of the call
        thread = threading.Thread(target=cancel)
        thread.start()
        try:
            with pytest.raises(CancelledError):
                call_in_daemon(fail)
        finally:
            ended.set()
        thread.join(GENEROUS)


def test_a_call_that_fails_cancels_the_others():
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        map_in_daemons(divide_slowly, [1, 2, 0], 3)
    eventually(lambda: threading.active_count() <= before)


def run_in_copy(function):
    """Run a function in a thread with a copy of this context; return its errors, and the thread."""
    errors = []

    def run():
        try:
            function()
        except BaseException as error:
            errors.append(type(error))

    thread = threading.Thread(target=copy_context().run, args=(run,), daemon=True)
    thread.start()
    return errors, thread


def test_a_pause_in_a_scope_ends_by_itself():
    with CancelScope() as scope:
        pause(0.001)
    assert not scope.is_cancelled


@pytest.mark.parametrize("wait", [check_cancelled, lambda: pause(LONG)], ids=["check", "pause"])
def test_cancelled_work_ends_where_it_waits(wait):
    with CancelScope() as scope:
        scope.cancel()
        with pytest.raises(CancelledError):
            wait()
    check_cancelled()  # this is outside


def test_handlers_of_ordinary_exceptions_do_not_keep_cancelled_work_going():
    assert not issubclass(CancelledError, Exception)


def test_threads_with_copies_of_the_context_belong_to_the_work():
    with CancelScope() as scope:
        errors, thread = run_in_copy(lambda: pause(LONG))
        scope.cancel()
        thread.join(GENEROUS)
    assert errors == [CancelledError]


def test_work_that_is_left_by_an_exception_is_cancelled():
    found = []

    def work():
        with CancelScope():
            found.extend(run_in_copy(lambda: pause(LONG)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    errors, thread = found
    thread.join(GENEROUS)
    assert errors == [CancelledError]


def test_inner_work_is_cancelled_with_the_outer_one():
    with CancelScope() as outer, CancelScope() as inner:
        outer.cancel()
        assert inner.is_cancelled
        with CancelScope() as late:
            assert late.is_cancelled


def test_actions_find_inner_work_cancelled():
    """Those of the outer work are called in any order with the cancellation of the inner one."""
    found = []
    with CancelScope() as outer, CancelScope() as inner:
        for number in range(50):
            outer.call_when_cancelled(lambda n=number: found.append((n, inner.is_cancelled)))
        outer.cancel()
    assert sorted(found) == [(number, True) for number in range(50)]


def test_outer_work_outlives_the_inner_one():
    with CancelScope() as outer:
        with CancelScope() as inner:
            inner.cancel()
        check_cancelled()
        with CancelScope() as other:
            pass
        outer.cancel()
    assert not other.is_cancelled  # it was over


def test_actions_are_called_when_work_is_cancelled_or_at_once():
    calls = []
    with CancelScope() as scope:
        scope.call_when_cancelled(lambda: calls.append("first"))
        assert calls == []
        threading.Thread(target=scope.cancel).start()
        eventually(lambda: calls == ["first"])
        scope.call_when_cancelled(lambda: calls.append("second"))
    assert calls == ["first", "second"]
