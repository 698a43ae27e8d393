"""Names of files made from what others wrote: never a path, never odd, never too long."""

from __future__ import annotations

import hashlib
import re

MAX_BYTES = 180
"""File systems allow 255 bytes; suffixes and the names of temporary files must fit, too."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f/\\\u2028\u2029\ud800-\udfff]")


def safe_name(name: str) -> str:
    """One part of a path, without what could leave its folder; ordinary names stay as they are.

    What no file system should see is written as %XX, a long name is cut and ends in a digest.
    """
    safe = _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", name)
    if safe.strip(". ") != safe.strip() or not safe.strip():  # "", "..", hidden files, trailing dots
        safe = "".join(f"%{ord(character):02X}" if character in ". " else character for character in safe) or "_"
    if len(safe.encode()) <= MAX_BYTES:
        return safe
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    stem, dot, suffix = safe.rpartition(".")
    tail = f"-{digest}" + (dot + suffix if stem and len(suffix) <= 8 else "")
    return safe.encode()[: MAX_BYTES - len(tail.encode())].decode("utf-8", "ignore") + tail
