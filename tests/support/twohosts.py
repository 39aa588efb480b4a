"""Two hosts on one machine: network namespaces with a link that can be cut."""

import os
import secrets
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.services import end_process, require_available, start_process

HEAD, NODE = "10.77.0.1", "10.77.0.2"
"""The hosts' addresses, which no other host can reach."""


def ip(*arguments: object) -> None:
    subprocess.run(["ip", *map(str, arguments)], check=True, capture_output=True, text=True)


@dataclass(frozen=True)
class TwoHosts:
    """The names of the hosts."""

    head: str
    node: str

    def cut(self) -> None:
        """Cut the link of the node."""
        ip("-n", self.node, "link", "set", "wire", "down")

    def mend(self) -> None:
        """Restore the link."""
        ip("-n", self.node, "link", "set", "wire", "up")

    def command(self, host: str, *command: object) -> list[str]:
        """Return a command that runs this Python on a host."""
        return ["ip", "netns", "exec", host, sys.executable, *map(str, command)]

    @contextmanager
    def start(self, host: str, *command: object, log: Path, again: bool = False, **more):
        """Run a Python program on a host; with ``again``, restart it whenever it ends."""
        words = self.command(host, *command)
        if again:
            words = ["sh", "-c", 'while :; do "$@"; sleep 0.5; done', "sh", *words]
        with log.open("ab") as file:
            process = start_process(*words, log=file, start_new_session=True, **more)
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(
                        process.pid, signal.SIGKILL
                    )  # a new session, which is killed as a whole
                end_process(process)


@contextmanager
def two_hosts():
    """Make two hosts, and remove them afterwards."""
    require_available("ip", package="iproute2")
    tag = secrets.token_hex(3)
    hosts = TwoHosts(f"calbatch-head-{tag}", f"calbatch-node-{tag}")
    with ExitStack() as stack:
        for host in (hosts.head, hosts.node):
            ip("netns", "add", host)
            stack.callback(ip, "netns", "delete", host)
            ip("-n", host, "link", "set", "lo", "up")
        there = ("peer", "name", "wire", "netns", hosts.node)
        ip("-n", hosts.head, "link", "add", "wire", "type", "veth", *there)
        for host, address in ((hosts.head, HEAD), (hosts.node, NODE)):
            ip("-n", host, "address", "add", f"{address}/30", "dev", "wire")
            ip("-n", host, "link", "set", "wire", "up")
        yield hosts
