"""Read a transcript, whatever its format."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from linkage.errors import InputError
from linkage.scans.markup import local_name, parse_markup
from linkage.transcripts.alto import read_alto
from linkage.transcripts.hocr import read_hocr
from linkage.transcripts.model import Transcript, TranscriptPage
from linkage.transcripts.pagexml import read_page_xml

_READERS = {"alto": read_alto, "PcGts": read_page_xml, "html": read_hocr}


def read_transcript(path: Path) -> Transcript:
    """Read an ALTO, PAGE or hOCR file; which one it is, its root element says.

    Raises:
        InputError: it is none of these, damaged, too large, or declares entities; the message has no file name.
    """
    root = parse_markup(path)
    reader = _READERS.get(local_name(root))
    if reader is None:
        raise InputError(f"<{local_name(root)[:40]}> is neither ALTO, PAGE nor hOCR")
    return reader(root)


def transcript_page(path: Path, number: int) -> tuple[TranscriptPage, str]:
    """One page of a transcript, counted from 1, and what wrote it.

    Raises:
        InputError: it cannot be read or has no such page; the message names the transcript.
    """
    try:
        seen = path.stat()
        transcript = _last_read(path, seen.st_size, seen.st_mtime_ns)
        if number > len(transcript.pages):
            raise InputError(f"has {len(transcript.pages)} pages, and none for page {number}")
    except OSError as error:
        raise InputError(f"its transcript {path.name}: cannot be read ({error.strerror})") from None
    except InputError as error:
        raise InputError(f"its transcript {path.name}: {error}") from None
    return transcript.pages[number - 1], transcript.engine


@lru_cache(maxsize=1)
def _last_read(path: Path, size: int, changed: int) -> Transcript:
    """The transcript; kept for the next page, which often is of the same file. Size and time tell a changed one."""
    return read_transcript(path)
