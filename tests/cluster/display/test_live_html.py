"""Displays in a notebook that are updated in place."""

import sys
import threading

import pytest
from support.notebooks import open_notebook
from support.waiting import GENEROUS

from calbatch.cluster.display import live_html as module
from calbatch.cluster.display.live_html import (
    LiveDisplay,
    Snapshot,
    choose_pause,
    follow_in_notebook,
    is_notebook,
    show_in_notebook,
)


def snapshot(text, *, is_final=False):
    return Snapshot(html=f"<b>{text}</b>", text=text, is_final=is_final)


@pytest.fixture
def published(monkeypatch):
    """Return the list that `publish` fills, with updates as fast as possible."""
    monkeypatch.setattr(module, "EVERY", 0.0)
    return []


def follow(contents, published):
    """Return a display of the contents, one for each look, that publishes into a list."""
    looks = iter(contents)
    return LiveDisplay(lambda: next(looks), lambda *what: published.append(what))


def test_a_display_is_updated_in_place_until_its_final_state(published):
    contents = [snapshot("0"), snapshot("1"), snapshot("1"), snapshot("2", is_final=True)]
    display = follow(contents, published)
    display.show()
    display.join(GENEROUS)
    assert [(each.text, update) for each, _, update in published] == [
        ("0", False), ("1", True), ("2", True),
    ]  # fmt: skip
    assert len({name for _, name, _ in published}) == 1


@pytest.mark.parametrize(("follows", "final"), [(False, False), (True, True)])
def test_nothing_follows_if_nothing_is_to_change(published, follows, final):
    display = follow([snapshot("0", is_final=final)], published)
    display.show(follow=follows)
    display.join(GENEROUS)
    assert len(published) == 1


def test_a_display_in_two_places_has_one_thread(published):
    gate, states = threading.Event(), iter([snapshot("0"), snapshot("0")])

    def read():
        if threading.current_thread() is threading.main_thread():
            return next(states)
        gate.wait(GENEROUS)
        return snapshot("1", is_final=True)

    display = LiveDisplay(read, lambda *what: published.append(what))
    before = threading.active_count()
    display.show()
    display.show()
    assert threading.active_count() == before + 1
    gate.set()
    display.join(GENEROUS)
    assert [update for _, _, update in published] == [False, False, True]


@pytest.mark.parametrize(("cost", "pause"), [(0.0, module.EVERY), (0.5, 50.0)])
def test_expensive_updates_are_rare(cost, pause):
    assert choose_pause(cost) == pause


def test_the_end_of_a_block_is_shown_at_once(monkeypatch):
    shown = open_notebook(monkeypatch)
    looks = iter(map(snapshot, "01"))
    monkeypatch.setattr(module, "EVERY", GENEROUS)
    with follow_in_notebook(lambda: next(looks)):
        assert [each.contents["text/plain"] for each in shown] == ["0"]
    assert [each.contents["text/plain"] for each in shown] == ["0", "1"]
    assert [each.how["update"] for each in shown] == [False, True]


def test_a_plain_process_is_no_notebook(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not is_notebook()


def test_a_kernel_shows_html_and_text(monkeypatch):
    shown = open_notebook(monkeypatch)
    assert is_notebook()
    show_in_notebook(snapshot("1"), "place", True)
    [found] = shown
    assert found.contents == {"text/html": "<b>1</b>", "text/plain": "1"}
    assert found.how == {"raw": True, "display_id": "place", "update": True}


def test_a_terminal_is_no_notebook(monkeypatch):
    open_notebook(monkeypatch)
    monkeypatch.delattr(sys.modules["IPython"].get_ipython(), "kernel")
    assert not is_notebook()
