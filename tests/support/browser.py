"""A headless Chromium that is driven through its debugging port, as a person would use it."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import WebSocketClientConnection, websocket_connect

from support.waiting import eventually

_OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
    "--window-size=1200,900", "--no-first-run", "--disable-background-networking",
)  # fmt: skip
_LARGEST_MESSAGE = 1 << 28


def find_chromium() -> str:
    """Return the path of Chromium; without it, the test is skipped."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("chromium not found: apt-get install chromium")
    return str(found)


class Page:
    """A page in the browser.

    Parameters
    ----------
    port : int
        The debugging port of the browser.
    """

    def __init__(self, port: int) -> None:
        self._port, self._loop, self._number = port, asyncio.new_event_loop(), 0
        self._socket: WebSocketClientConnection = self._loop.run_until_complete(self._connect())
        self.call("Page.enable")
        self.call("Runtime.enable")

    async def _connect(self) -> WebSocketClientConnection:
        answer = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{self._port}/json/list")
        pages = [each for each in json.loads(answer.body) if each["type"] == "page"]
        return await websocket_connect(
            pages[0]["webSocketDebuggerUrl"], max_message_size=_LARGEST_MESSAGE
        )

    def close(self) -> None:
        """Close the connection."""
        self._loop.run_until_complete(self._close())
        self._loop.close()

    async def _close(self) -> None:
        self._socket.close()  # in the loop: other tests may have left this thread without one
        await asyncio.sleep(0)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the Chrome DevTools Protocol, and return its result."""
        self._number += 1
        return self._loop.run_until_complete(self._call(self._number, method, parameters))

    async def _call(self, number: int, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        await self._socket.write_message(
            json.dumps({"id": number, "method": method, "params": parameters})
        )
        while True:
            message = await self._socket.read_message()
            assert message is not None, "the browser has ended"
            answer = json.loads(message)
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return dict(answer["result"])

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript; of a promise, its result."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, place: Path | str) -> None:
        """Open a file or an address, and wait until it is complete."""
        url = place.as_uri() if isinstance(place, Path) else place
        self.call("Page.navigate", url=url)
        address = json.dumps(url)
        eventually(
            lambda: self.evaluate(
                f"document.readyState === 'complete' && location.href === {address}"
            )
        )

    def click(self, element: str, offset: tuple[float, float] | None = None) -> None:
        """Click at an element.

        Parameters
        ----------
        element : str
            An expression of JavaScript.
        offset : (float, float), optional
            Distance from its left and upper edges in pixels; the middle by default.
        """
        left, top, width, height = self.evaluate(
            f"(() => {{ const e = {element}; e.scrollIntoView({{block: 'center'}}); "
            "const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()"
        )
        right, down = offset or (width / 2, height / 2)
        x, y = left + right, top + down
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def text_of(self, name: str) -> str:
        """Return the text of the element with an id."""
        return str(self.evaluate(f"document.getElementById({json.dumps(name)}).textContent"))

    def type(self, text: str) -> None:
        """Type a text into the element that has been clicked."""
        self.call("Input.insertText", text=text)


@contextmanager
def open_browser(folder: Path) -> Iterator[Page]:
    """Start a browser with a profile in a folder, and end it afterwards."""
    options = (*_OPTIONS, f"--user-data-dir={folder}")
    with subprocess.Popen(
        [find_chromium(), *options, "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            ports = folder / "DevToolsActivePort"
            eventually(lambda: ports.exists() and len(ports.read_text().split()) == 2)
            page = Page(int(ports.read_text().split()[0]))
            try:
                yield page
            finally:
                page.close()
        finally:
            process.terminate()
