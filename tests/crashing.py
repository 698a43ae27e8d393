"""Work that ends badly; a module of its own, because worker processes import it."""

from __future__ import annotations

import os
import signal
import subprocess


def go_wrong(item: int) -> int:
    """Square the item; some end their process, stand still, or eat memory, themselves or in a program."""
    if item == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 5:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        signal.sigwait({signal.SIGUSR1})
    if item == 6:
        eaten = b"x" * 400_000_000  # kept: what is freed at once, a look may miss
        signal.sigwait({signal.SIGUSR1})
        return len(eaten)
    if item == 7:
        eat = "x = b'x' * 400_000_000; input()"
        with subprocess.Popen(["python3", "-c", eat], stdin=subprocess.PIPE) as program:
            return program.wait()
    return item * item


def refuse(item: int) -> int:
    raise ValueError(f"no {item}")


def process(item: int) -> tuple[int, str]:
    return os.getpid(), os.environ["OMP_THREAD_LIMIT"]


def die(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
