"""The page's part in a scheduler."""

from types import SimpleNamespace

from calbatch.cluster.sites.page.plugin import CalbatchPage


def make_page(*workers):
    page = CalbatchPage("<html>", "default-src 'none'")
    page.scheduler = SimpleNamespace(workers=dict(enumerate(workers)))
    return page


def test_workers_are_described_without_names():
    busy = SimpleNamespace(
        metrics={"memory": 5, "cpu": 99.0}, memory_limit=10, processing={"key": 1.0},
        address="tcp://secret",
    )  # fmt: skip
    new = SimpleNamespace(metrics={}, memory_limit=None, processing={}, address="tcp://secret")
    assert make_page(busy, new).collect_data("")["workers"] == [
        {"memory": 5, "limit": 10, "cpu": 99.0, "tasks": 1},
        {"memory": 0, "limit": 0, "cpu": 0.0, "tasks": 0},
    ]
