"""Commands and pages that run in processes forked from one that has imported everything.

A command of a page would otherwise take seconds of CPU before it begins. A forked process has the
working folder, the environment and the standard streams of its caller.

>>> python -m support.doc_server FOLDER  # the process, with the files that pages use in FOLDER
"""

import atexit
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import dask

from calbatch.cluster import cli
from support import doc_pages, doc_sandbox
from support.doc_services import SERVICES
from support.forking import become_process
from support.repository import relative

TESTS = Path(__file__).resolve().parents[1]
SOCKET, READY = "socket", b"ready\n"

CLIENT = """#!{python} -SE
# Run a command in a process that is ready, as if this process ran it.
import json, os, socket, sys
request = {{"command": {command!r}, "arguments": sys.argv[1:], "folder": os.getcwd(),
           "environment": dict(os.environ)}}
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
    connection.connect({path!r})
    socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
    status = connection.recv(16)
    connection.recv(16)  # until the command has ended
if status == b"3" and sys.argv[1:2] == ["status"]:
    sys.exit(0)  # the batch is running, which is no failure
sys.exit(int(status or 255))
"""


class DocServer:
    """A process from which commands and pages are forked."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="calbatch-docs-"))  # a short path, for a socket
        atexit.register(self.close)
        paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        command = [sys.executable, "-P", "-m", "support.doc_server", str(self.folder)]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        assert self.process.stdout.readline() == READY, (self.folder / "log").read_text()

    def run_page(self, page: Path, folder: Path) -> str:
        """Run the blocks of a page in a new folder; return the output, which ends with DONE."""
        folder.mkdir()
        variables = {**os.environ, **doc_sandbox.furnish(folder, self.folder)}
        replaced = {"/shared/": f"{folder}/shared/", "--idle 3600": "--idle 1"}
        log = folder.parent / "output.txt"
        with ExitStack() as stack, log.open("wb") as output:
            for service in SERVICES.get(relative(page), ()):
                settings, addresses = stack.enter_context(service(folder, variables))
                variables, replaced = variables | settings, replaced | addresses
            variables["REPLACED"] = json.dumps(replaced)
            subprocess.run(
                [self.folder / "bin" / "page", str(page)], cwd=folder, env=variables,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
            )  # fmt: skip
        return log.read_text(errors="replace")

    def close(self) -> None:
        """End the process."""
        self.process.communicate()
        shutil.rmtree(self.folder)


@cache
def doc_server() -> DocServer:
    """Return the process of this session from which pages are forked."""
    return DocServer()


def main(folder: Path) -> None:
    """Make the files, and fork a process for each request until the standard input is closed."""
    with dask.config.set(scheduler="sync"):  # forked processes would wait for threads
        doc_sandbox.make_files(folder)
    (folder / "bin").mkdir()
    for command in ("calbatch", "page"):
        script = folder / "bin" / command
        path = str(folder / SOCKET)
        script.write_text(CLIENT.format(python=sys.executable, command=command, path=path))
        script.chmod(0o700)
    sys.path.remove(str(TESTS))
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(str(folder / SOCKET))
    listening.listen()
    os.write(1, READY)
    while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
        connection, _ = listening.accept()
        message, descriptors, *_ = socket.recv_fds(connection, 1 << 20, 3)
        if os.fork() == 0:
            listening.close()
            become_command(json.loads(message), descriptors, connection)
        for descriptor in (connection.detach(), *descriptors):
            os.close(descriptor)
        while _has_ended():
            pass


def _has_ended() -> bool:
    """Return whether another of the forked processes has ended, and forget it."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def become_command(request: dict, descriptors: list[int], connection: socket.socket) -> None:
    """Run a command in this process, report its status, and end."""
    name, arguments = request["command"], request["arguments"]
    become_process([name, *arguments], descriptors, request["environment"], request["folder"])
    status = 1
    try:
        status = doc_pages.run_page(Path(*arguments)) if name == "page" else cli.run_command()
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.stdout.flush()
        connection.send(str(status).encode())
    sys.exit(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
