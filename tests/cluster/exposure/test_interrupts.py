"""Signals that interrupt a batch."""

import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from support.waiting import be_slow

from calbatch.cluster.exposure.interrupts import handle_interrupts, require_no_interrupt

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def reported(monkeypatch):
    """Handle interrupts; return the types of dropped exceptions that are reported."""
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: reported.append(dropped.exc_type))
    before = {number: signal.getsignal(number) for number in HANDLED}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    handle_interrupts()
    yield reported
    for number, handler in before.items():
        signal.signal(number, handler)


class Fails:
    """Calls a function in its destructor, where Python drops exceptions."""

    def __init__(self, function):
        self.function = function

    def __del__(self):
        self.function()


def send(number):
    os.kill(os.getpid(), number)
    sum(range(1000))  # a signal is handled here


def wait_for_signal():
    be_slow(60)  # unless its exception ends this


def drop_in_destructor(number):
    Fails(lambda: send(number))


def drop_in_weak_reference(number):
    target = Fails(lambda: None)
    reference = weakref.ref(target, lambda _: send(number))
    del target
    assert reference() is None


@pytest.mark.parametrize("number", HANDLED)
@pytest.mark.parametrize("drop", [drop_in_destructor, drop_in_weak_reference])
def test_a_signal_whose_exception_is_dropped_interrupts_later(number, drop, reported):
    drop(number)
    with pytest.raises(KeyboardInterrupt):
        wait_for_signal()
    assert reported == []


def test_a_signal_is_sent_until_it_interrupts(reported):
    still_dropped = 3

    def wait_and_drop():
        nonlocal still_dropped
        still_dropped -= 1
        wait_for_signal()

    drop_in_destructor(signal.SIGTERM)
    while still_dropped:
        Fails(wait_and_drop)
    with pytest.raises(KeyboardInterrupt):
        wait_for_signal()
    assert reported == []


def test_a_dropped_signal_does_not_end_a_process_that_another_one_has_interrupted():
    code = (
        "import signal, sys\n"
        "from support.waiting import be_slow\n"
        "from calbatch.cluster.exposure.interrupts import PAUSE, handle_interrupts, interrupt\n"
        "handle_interrupts()\n"
        "class Fails:\n"
        "    def __del__(self):\n"
        "        interrupt(signal.SIGTERM, None)\n"
        "Fails()\n"
        "signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"  # as at the end of an interrupted batch
        "be_slow(4 * PAUSE)\n"
        "sys.exit(130)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert ended.returncode == 130


def test_other_exceptions_are_reported(reported):
    Fails(lambda: 1 / 0)
    assert reported == [ZeroDivisionError]


def test_reports_do_not_nest(reported):
    for _ in range(2 * sys.getrecursionlimit()):  # as often as one process runs commands
        handle_interrupts()
    Fails(lambda: 1 / 0)
    assert reported == [ZeroDivisionError]


@pytest.mark.parametrize("number", HANDLED)
def test_a_signal_interrupts_at_once(number):
    with pytest.raises(KeyboardInterrupt):
        send(number)


def test_an_ignored_interrupt_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    handle_interrupts()
    send(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_an_exception_that_is_dropped_unseen_is_raised_again():
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):  # nothing has told that the first was caught
        require_no_interrupt()
    require_no_interrupt()  # raised once


def test_a_new_command_forgets_earlier_signals():
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGTERM)
    handle_interrupts()
    require_no_interrupt()
