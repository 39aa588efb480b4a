"""Run a command, and kill it with all of its processes if the calling process ends.

Usage: python -I -S _supervisor.py REPORT PROGRAM [ARGUMENT...]

Standard input is a pipe whose other end is held by the calling process: the kernel closes it
however that process ends. The command's status, or the reason why it cannot be run, is written to
the descriptor REPORT.
"""

import os
import signal
import subprocess
import sys
import threading


def main() -> None:
    """Run the command."""
    report, words = int(sys.argv[1]), sys.argv[2:]
    try:
        command = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
    except (OSError, ValueError) as error:
        os.write(report, f"error {error}".encode())
        return

    def wait() -> None:
        os.write(report, f"status {command.wait()}".encode())
        os._exit(0)

    threading.Thread(target=wait).start()
    os.read(0, 1)
    os.killpg(command.pid, signal.SIGKILL)
    os._exit(1)


main()
