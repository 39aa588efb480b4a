"""Fixtures for tests of shared plans."""

import sys

import pytest
from support.alike import MODULE, calibrate_all

from calbatch.cluster.exposure import job as job_module
from calbatch.cluster.exposure import shared_plans


@pytest.fixture
def filled(monkeypatch):
    """Forget all plans, and return the names of exposures that are made from shared ones."""
    monkeypatch.setattr(shared_plans, "_plans", type(shared_plans._plans)())
    monkeypatch.setattr(shared_plans, "_consulted", set())
    found, fill = [], shared_plans._fill

    def note(plan, parts):
        found.append(parts.path.name)
        return fill(plan, parts)

    monkeypatch.setattr(shared_plans, "_fill", note)
    return found


@pytest.fixture
def alone(monkeypatch):
    """Return a function that calibrates jobs, each planned by itself, to another folder."""

    def run(jobs, threads=0):
        with monkeypatch.context() as patch:
            patch.setattr(job_module, "share_plan", lambda *_: None)
            return calibrate_all(jobs, "alone", threads)

    return run


@pytest.fixture
def built_in(monkeypatch, request):
    """Let the steps of this module be importable as calbatch's own."""
    monkeypatch.setitem(sys.modules, MODULE, request.module)
