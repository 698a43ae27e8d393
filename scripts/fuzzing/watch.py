"""One worker of the fuzzing: it makes cases, has them read, and watches what the readers do meanwhile."""

from __future__ import annotations

import faulthandler
import logging
import os
import shutil
import sys
import time
import traceback
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from fuzzing.cases import case, write
from fuzzing.readers import READERS, scan
from fuzzing.samples import encoded, picture, samples_of

CANARY = "canary-in-a-coal-mine"
LONGEST = 2000  # characters of a message
_CHANGES = {
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "shutil.rmtree", "shutil.move", "shutil.copyfile",
}  # fmt: skip
_NEVER = (
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.startfile", "pickle.find_class",
    "socket.connect", "socket.getaddrinfo", "socket.bind", "urllib.Request", "webbrowser.open",
)  # fmt: skip
_PRIVATE = ("/etc/passwd", "/proc/self/environ")


class Seen(NamedTuple):
    """What came of one case: accepted, refused, crash, hang, memory or escape."""

    outcome: str
    detail: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0


def work(connection: Connection, root: Path, seed: int, megabytes: float) -> None:
    """Read the cases that come through the connection as (kind, number); answer "reading", then what was seen.

    Args:
        connection: to the parent; None ends the work.
        root: an empty folder for this worker alone.
        seed: of the cases.
        megabytes: that one file may add to the memory of the process.
    """
    faulthandler.enable()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.dont_write_bytecode = True
    watch = _Watch(root)
    warm: set[str] = set()
    while (task := connection.recv()) is not None:
        kind, number = task
        if kind not in warm:  # imports take seconds and write caches
            watch.fresh()
            write(samples_of(kind)[0], watch.folder)
            READERS[kind](watch.folder)
            warm.add(kind)
        watch.fresh()
        sample, valid = case(kind, seed, number)
        write(sample, watch.folder)
        connection.send("reading")
        connection.send(_seen(kind, watch, megabytes, valid=valid, names=sample.files))


def _seen(kind: str, watch: _Watch, megabytes: float, *, valid: bool, names: dict[str, bytes]) -> Seen:
    from linkage.errors import LinkageError

    before = _peak(reset=True)
    start = time.monotonic()
    outcome, detail = "accepted", ""
    try:
        with watch.on():
            said = READERS[kind](watch.folder)
    except LinkageError as error:
        outcome, said = "refused", str(error)
        parts = None if READERS[kind] is scan else {part for name in names for part in Path(name).parts}
        if problem := problem_of(said, parts):
            outcome, detail = "crash", f"{problem}: {said[:300]!r}"
    except Exception as error:
        outcome, said = "crash", ""
        frames = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-4:]]
        detail = f"{type(error).__name__}: {str(error)[:200]!r} in {' '.join(frames)}"
    seconds, grown = time.monotonic() - start, _peak() - before
    if outcome == "refused" and valid:
        outcome, detail = "crash", f"a valid file was refused: {said[:300]!r}"
    if grown > megabytes:
        outcome, detail = "memory", f"{grown:.0f} MB more"
    if escape := watch.escape(said):
        outcome, detail = "escape", escape
    return Seen(outcome, detail or said[:200], seconds, grown)


def problem_of(message: str, names: set[str] | None) -> str:
    """What is wrong with the message of an error; "" where nothing is.

    Args:
        message: of a LinkageError.
        names: files, of which it must name one; None: it must name none, the caller does.
    """
    if not message.strip() or len(message) > LONGEST:
        return f"a message of {len(message)} characters"
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in message):
        return "a message of several lines, or with control characters"
    if "Traceback" in message:
        return "a traceback in the message"
    if names is not None and not any(name in message for name in names):
        return "a message that names no file"
    return ""


class _Watch:
    """The folder of a worker: `folder` for the files of a case, surrounded by what no reader may touch."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._cases = 0
        self.folder = root / "0"
        self._on = False
        self._escape = ""
        outside, cwd = root / "outside", root / "cwd"
        outside.mkdir()
        cwd.mkdir()
        (outside / "secret.png").write_bytes(encoded(picture(), "PNG"))
        (outside / "secret.txt").write_text(CANARY)
        os.chdir(cwd)
        self._around = self._surroundings()
        sys.addaudithook(self._hear)

    def fresh(self) -> None:
        """Remove the folder of the case, and make one of another name: readers may hold a file open by its path."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._cases += 1
        self.folder = self.root / str(self._cases)
        self.folder.mkdir()

    @contextmanager
    def on(self) -> Iterator[None]:
        """Listen while a reader is at work."""
        self._escape = ""
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def escape(self, said: str) -> str:
        """What a reader did that none may; "" for nothing."""
        if CANARY in said:
            return "a file beside the folder was read"
        if self._surroundings() != self._around:
            return "files beside the folder changed"
        if any("escaped" in path.name for path in self.folder.rglob("*")):
            return "a command in the file was run"
        return self._escape

    def _surroundings(self) -> list[tuple[str, int, int]]:
        """Name, size and time of everything around the folder of the case."""
        own = (path for path in self.root.rglob("*") if not path.is_relative_to(self.folder))
        files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in own if path.is_file()]
        folders = [(str(path), 0, 0) for path in self.root.parent.iterdir()] + [(str(Path.cwd()), 0, 0)]
        return sorted([*files, *folders[-1:]])

    def _hear(self, event: str, values: tuple[Any, ...]) -> None:
        if not self._on or self._escape:
            return
        if event in _NEVER:
            self._escape = f"{event} {values!r:.200}"
        elif event == "open" and isinstance(values[0], (str, bytes)):
            path, (mode, flags) = self._place(values[0]), values[1:]
            writes = (
                bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) if flags else bool(set(mode or "") & set("wax+"))
            )
            if (writes and not self._inside(path)) or path in _PRIVATE or path.startswith(f"{self.root}/outside"):
                self._escape = f"open {path} {'for writing' if writes else ''}"
        elif event in _CHANGES:
            folder = ""
            if event in ("os.remove", "os.rmdir") and values[1] >= 0:  # the name is one within an open folder
                folder = str(Path(f"/proc/self/fd/{values[1]}").readlink())
            places = [self._place(value, folder) for value in values[:2] if isinstance(value, (str, bytes))]
            if outside := [path for path in places if not self._inside(path)]:
                self._escape = f"{event} {outside[0]}"

    def _place(self, name: str | bytes, folder: str = "") -> str:
        return os.path.realpath(os.path.join(folder, os.fsdecode(name)))  # noqa: PTH118 - as the system reads it

    def _inside(self, path: str) -> bool:
        return path.startswith((f"{self.folder}/", "/dev/null")) or path == str(self.folder)


def _peak(*, reset: bool = False) -> float:
    """Peak resident memory of this process in megabytes; `reset`: since now."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
