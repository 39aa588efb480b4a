"""A notebook's display without a notebook: it remembers what is shown in it."""

import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace


@dataclass
class Shown:
    """The contents that were shown.

    Parameters
    ----------
    contents : object
        An object, or its representations by type.
    how : dict
        The display's options: its name, and whether it is updated.
    """

    contents: object
    how: dict

    @property
    def html(self):
        """The contents as HTML; empty without."""
        if isinstance(self.contents, dict):
            return self.contents.get("text/html", "")
        return getattr(self.contents, "html", "")


def open_notebook(monkeypatch):
    """Pretend that this process is a notebook's kernel; return the list of what it shows.

    It has the interface of IPython, which `tests/cluster/test_notebook.py` uses itself.
    """
    shown = []

    def display(*contents, **how):
        shown.extend(Shown(each, how) for each in contents)

    shell = SimpleNamespace(kernel=object())
    package, module = ModuleType("IPython"), ModuleType("IPython.display")
    package.get_ipython = lambda: shell
    module.display = display
    package.display = module
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return shown
