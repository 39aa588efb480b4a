"""Signals that interrupt a batch."""

import os
import signal

import pytest

from calbatch.cluster.exposure.interrupts import interrupt, require_no_interrupt


@pytest.fixture(autouse=True)
def handler():
    before = signal.signal(signal.SIGUSR1, interrupt)
    yield
    signal.signal(signal.SIGUSR1, before)


class Sent:
    """Sends a signal in its destructor, where Python drops exceptions."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGUSR1)
        sum(range(1000))  # the signal is handled here


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_arrives_in_a_destructor_is_not_lost():
    Sent()
    with pytest.raises(KeyboardInterrupt):
        require_no_interrupt()
    require_no_interrupt()  # raised once


def test_a_signal_interrupts_at_once():
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGUSR1)
    with pytest.raises(KeyboardInterrupt):
        require_no_interrupt()
