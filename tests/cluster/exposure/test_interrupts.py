"""Signals that interrupt a batch."""

import os
import signal
import sys

import pytest

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
        sum(range(1000))  # a signal is handled here


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", HANDLED)
def test_a_signal_that_arrives_in_a_destructor_is_not_lost(number, reported):
    Fails(lambda: send(number))
    with pytest.raises(KeyboardInterrupt):
        require_no_interrupt()
    require_no_interrupt()  # raised once
    assert reported == []


def test_other_exceptions_in_destructors_are_reported(reported):
    Fails(lambda: 1 / 0)
    assert reported == [ZeroDivisionError]
    require_no_interrupt()


@pytest.mark.parametrize("number", HANDLED)
def test_a_signal_interrupts_at_once(number):
    with pytest.raises(KeyboardInterrupt):
        send(number)
    with pytest.raises(KeyboardInterrupt):
        require_no_interrupt()


def test_an_ignored_interrupt_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    handle_interrupts()
    send(signal.SIGINT)
    require_no_interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
