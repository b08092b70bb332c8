"""Processes below this one, by Linux's /proc: found, stopped, and killed in the middle of what they do."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Process:
    """A process and its command line."""

    pid: int
    words: list[str]

    @property
    def title(self) -> str:
        return " ".join(self.words)


def words_of(pid: int) -> list[str]:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return [word.decode(errors="replace") for word in file.read().split(b"\0") if word]


def status(pid: int) -> tuple[str, int]:
    """State and parent."""
    with open(f"/proc/{pid}/stat") as file:
        state, parent = file.read().rsplit(")", 1)[1].split()[:2]
    return state, int(parent)


def tree(root: int) -> list[Process]:
    """All processes below one."""
    parents: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents.setdefault(status(int(name))[1], []).append(int(name))
        except OSError:
            pass  # It ended meanwhile.
    found, left = [], list(parents.get(root, []))
    while left:
        pid = left.pop()
        left += parents.get(pid, [])
        try:
            found.append(Process(pid, words_of(pid)))
        except OSError:
            pass
    return [process for process in found if process.words]


class Victim:
    """A process that was stopped: what it was at, it is still at."""

    def __init__(self, process: Process) -> None:
        self.pid = process.pid
        os.kill(self.pid, signal.SIGSTOP)
        while status(self.pid)[0] not in "TtZX":
            time.sleep(0.001)
        self.title = " ".join(words_of(self.pid))

    @classmethod
    def wait(cls, program: subprocess.Popen[str], wanted: Callable[[Process], bool]) -> Victim:
        """The first process below this one that is wanted, and still is once it is stopped; while the program runs."""
        while program.poll() is None:
            for process in tree(os.getpid()):
                if wanted(process):
                    victim = cls(process)
                    if wanted(Process(victim.pid, words_of(victim.pid))):
                        return victim
                    victim.resume()
            # Looking takes some of the cores' time, too.
            time.sleep(0.02)
        raise AssertionError("the program ended before a worker was found at work")

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill_group(self, group: int) -> str:
        """Kills a process group that it belongs to."""
        os.killpg(group, signal.SIGKILL)
        return self.gone()

    def kill(self) -> str:
        """Kills it; says what it was."""
        os.kill(self.pid, signal.SIGKILL)
        return self.gone()

    def gone(self) -> str:
        """Waits until it is no more."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if status(self.pid)[0] in "ZX":
                    break
            except OSError:
                break
            time.sleep(0.01)
        else:
            raise AssertionError(f"process {self.pid} is still there after SIGKILL")
        name = self.title if len(self.title) < 90 else f"{self.title[:40]} … {self.title[-40:]}"
        return f"process {self.pid} ({name})"
