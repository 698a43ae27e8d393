"""Ways to damage a file: blind ones on bytes, knowing ones on texts, PNG chunks and safetensors headers."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable
from random import Random

_NEAR = 1024  # bytes at either end of a file, where most of its structure stands
_SIZES = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
_NUMBERS = ("0", "-1", "1e308", "1e999", "-inf", "nan", "9" * 25, "9" * 5000, "2147483648", "0x7fffffffffffffff", "١٢")
_PLACES = ("../outside/secret.png", "/etc/passwd", "..\\secret.png", "a/../../outside/secret.png", "file:///etc/passwd")
_CELLS = (
    "=1+1", "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", '"', "'", "'=1", ",", "a,b,c", "a\nb", "a\r\nb",
    "\0", "\x1b[2J", "\x7f", "\u2028", "\u202e", "\ufeff", "\ud800", "é" * 300, "NA", "null", "none", "true", "[]",
    "&lt;", "&amp;", "&", "<", ">", "<![CDATA[", "]]>", "<!--", "&#0;", "&#x110000;", "<a>", "</a>", "<?xml?>",
    "!!python/object/apply:os.system [touch escaped]", "!!binary aGk=", "!!set {a, b}", "&a [*a]", "*b", "? ", "<<: 1",
    "2001-99-99", "2001-02-30 99:99:99", "0o9", "1_000", "12:30:45", "---", "...", "- - - -", "{a: {b: {c: [", "%TAG",
    "__class__", "{0.__class__}", "%s%n", "$(touch escaped)", "`touch escaped`", "; touch escaped", "CON", "a" * 300,
)  # fmt: skip

Mutation = Callable[[bytes, Random, bytes], bytes]
"""Takes the file, the dice, and another valid file of the same kind."""


def damaged(data: bytes, dice: Random, other: bytes, kind: str) -> bytes:
    """The file after one to four mutations that suit its kind ("text", "png", "safetensors" or "bytes")."""
    for _ in range(dice.choice((1, 1, 1, 2, 3, 4))):
        if kind == "text" and dice.random() < 0.75:
            data = dice.choice(_ON_TEXT)(data, dice, other)
        elif kind == "png" and dice.random() < 0.7:
            data = _png_chunk(data, dice, other)
        elif kind == "safetensors" and dice.random() < 0.7:
            data = _tensor_header(data, dice, other)
        else:
            data = dice.choice(_ON_BYTES)(data, dice, other)
    return data


def _place(data: bytes, dice: Random) -> int:
    """A position, more often than not near the head or the tail."""
    if not data:
        return 0
    where = dice.random()
    if where < 0.45:
        return dice.randrange(min(len(data), _NEAR))
    if where < 0.6:
        return dice.randrange(max(len(data) - _NEAR, 0), len(data))
    return dice.randrange(len(data))


def _range(data: bytes, dice: Random) -> tuple[int, int]:
    start = _place(data, dice)
    return start, min(start + dice.choice((1, 2, 4, 16, 64, 256, 4096)), len(data))


def _flip(data: bytes, dice: Random, _: bytes) -> bytes:
    changed = bytearray(data)
    for _bit in range(dice.choice((1, 1, 2, 4, 16, 64)) if data else 0):
        changed[_place(data, dice)] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _set(data: bytes, dice: Random, _: bytes) -> bytes:
    start, stop = _range(data, dice)
    return data[:start] + bytes([dice.choice((0, 1, 0x20, 0x7F, 0x80, 0xFF))]) * (stop - start) + data[stop:]


def _number(data: bytes, dice: Random, _: bytes) -> bytes:
    """An absurd value where a length, a size or an offset may stand."""
    code = dice.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    width = struct.calcsize(code)
    start = _place(data, dice)
    return data[:start] + struct.pack(code, dice.choice(_SIZES) % 256**width) + data[start + width :]


def _truncate(data: bytes, dice: Random, _: bytes) -> bytes:
    return data[: _place(data, dice)]


def _delete(data: bytes, dice: Random, _: bytes) -> bytes:
    start, stop = _range(data, dice)
    return data[:start] + data[stop:]


def _duplicate(data: bytes, dice: Random, _: bytes) -> bytes:
    start, stop = _range(data, dice)
    return data[:stop] + data[start:stop] * dice.choice((1, 2, 50)) + data[stop:]


def _splice(data: bytes, dice: Random, other: bytes) -> bytes:
    if dice.random() < 0.5:
        return data[: _place(data, dice)] + other[_place(other, dice) :]
    start, stop = _range(other, dice)
    place = _place(data, dice)
    return data[:place] + other[start:stop] + data[place + (stop - start) * dice.randrange(2) :]


def _noise(data: bytes, dice: Random, _: bytes) -> bytes:
    place = _place(data, dice)
    return data[:place] + dice.randbytes(dice.choice((1, 8, 200))) + data[place:]


def _digits(data: bytes, dice: Random, _: bytes) -> bytes:
    """A number written in letters becomes another one: sizes in PDF, PPM, XML, JSON, CSV."""
    found = list(re.finditer(rb"\d+", data[: 2**17]))
    if not found:
        return data
    match = dice.choice(found)
    return data[: match.start()] + dice.choice(_NUMBERS).encode() + data[match.end() :]


_ON_BYTES: tuple[Mutation, ...] = (
    _flip, _flip, _set, _number, _number, _truncate, _delete, _duplicate, _splice, _noise, _digits,
)  # fmt: skip


def _cell(data: bytes, dice: Random, _: bytes) -> bytes:
    """A word, a cell or a value becomes something that means more than it says."""
    words = list(re.finditer(rb"[^\s,:;<>=\"'\[\]{}]+", data[: 2**17]))
    new = dice.choice((*_CELLS, *_PLACES, *_NUMBERS)).encode("utf-8", "surrogatepass")
    if not words:
        return data + new
    word = dice.choice(words)
    return data[: word.start()] + new + data[(word.start() if dice.random() < 0.2 else word.end()) :]


def _line(data: bytes, dice: Random, _: bytes) -> bytes:
    lines = data.split(b"\n")
    row = dice.randrange(len(lines))
    copies = dice.choice((0, 0, 2, 3, 200))
    lines[row : row + 1] = [lines[row]] * copies
    if copies == 0 and len(lines) > 1:
        dice.shuffle(lines)
    return b"\n".join(lines)


def _long(data: bytes, dice: Random, _: bytes) -> bytes:
    place = _place(data, dice)
    return (
        data[:place] + dice.choice((b"x", b"9", b" ", b",", b'"', b"\n")) * dice.choice((5_000, 200_000)) + data[place:]
    )


def _nest(data: bytes, dice: Random, _: bytes) -> bytes:
    depth = dice.choice((50, 2_000, 20_000))
    opening, closing = dice.choice(((b"[", b"]"), (b"{a: ", b"}"), (b'{"a":', b"}"), (b"<a>", b"</a>"), (b"- ", b"")))
    place = _place(data, dice)
    return data[:place] + opening * depth + closing * dice.choice((depth, 0)) + data[place:]


def _encode(data: bytes, dice: Random, _: bytes) -> bytes:
    text = data.decode("utf-8", "replace")
    how = dice.choice(("bom", "utf-16", "utf-16-le", "utf-32", "latin-1", "utf-7", "cp037", "crlf", "cr"))
    if how == "bom":
        return b"\xef\xbb\xbf" + data
    if how in ("crlf", "cr"):
        return data.replace(b"\n", b"\r\n" if how == "crlf" else b"\r")
    return text.encode(how, "replace")


_ON_TEXT: tuple[Mutation, ...] = (_cell, _cell, _cell, _digits, _digits, _line, _long, _nest, _encode, _splice)


def _png_chunk(data: bytes, dice: Random, other: bytes) -> bytes:
    """Damage inside one chunk, with a right checksum: what lies behind the checksums is reached, too."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    if not chunks:
        return _flip(data, dice, other)
    row = dice.randrange(len(chunks))
    name, content = chunks[row]
    if name == b"IDAT" and dice.random() < 0.5:
        content = zlib.compress(dice.choice(_ON_BYTES)(_inflated(content), dice, other))
    else:
        content = dice.choice(_ON_BYTES)(content, dice, other)
    chunks[row : row + 1] = [(name, content)] * dice.choice((0, 1, 1, 1, 1, 2))
    packed = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return data[:8] + b"".join(packed)


def _inflated(content: bytes) -> bytes:
    try:
        return zlib.decompress(content)
    except zlib.error:
        return content


def _tensor_header(data: bytes, dice: Random, other: bytes) -> bytes:
    """Damage in the JSON header of a safetensors file, with a right length before it."""
    size = int.from_bytes(data[:8], "little")
    header, tensors = data[8 : 8 + size], data[8 + size :]
    if dice.random() < 0.5:
        header = dice.choice(_ON_TEXT)(header, dice, other[8:2000])
    else:
        try:
            names = json.loads(header)
            name = dice.choice(sorted(names))
            names[name] = dice.choice((None, [], names[dice.choice(sorted(names))], {"dtype": "F64", "shape": [2**62]}))
            header = json.dumps(names).encode()
        except (ValueError, TypeError, AttributeError, IndexError, RecursionError):
            header = _flip(header, dice, other)
    return len(header).to_bytes(8, "little") + header + tensors
