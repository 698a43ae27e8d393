"""Files made to do harm: bombs, loops and absurd claims, from which the mutations go on."""

from __future__ import annotations

import struct
import zlib

from fuzzing.samples import Sample, alone, encoded, picture, stream, typeset_pdf, written_pdf

_CATALOGUE = b"<< /Type /Catalog /Pages 2 0 R >>"


def images(kind: str) -> list[bytes]:
    """Pictures that claim more than they hold."""
    made = {"png": _pngs, "tiff": _tiffs, "gif": _gifs, "bmp": _bmps, "ppm": _ppms, "jpeg": _jpegs}
    return made[kind]() if kind in made else []


def _png(width: int, height: int, pixels: bytes, depth: int = 8, colour: int = 0, *more: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", pixels), (b"IEND", b"")]
    packed = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _pngs() -> list[bytes]:
    zeros = zlib.compress(b"\0" * 50_000_000)
    text = b"k\0\0" + zeros
    return [
        _png(60_000, 60_000, zlib.compress(b"\0" * 64)),
        _png(2**31 - 1, 1, zlib.compress(b"\0")),
        _png(60, 40, zeros),
        _png(60, 40, zlib.compress(b"\0" * 2440), 8, 0, (b"zTXt", text)),
        _png(60, 40, zlib.compress(b"\0" * 2440), 8, 0, (b"iCCP", b"p\0\0" + zeros)),
        _png(12_000, 12_000, zlib.compress(b"\0" * (12_001 * 12_000))),
    ]


def _tiff(entries: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + struct.pack("<I", following) + bytes(200)


def _tiffs() -> list[bytes]:
    grey = [(258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 200), (277, 3, 1, 1), (279, 4, 1, 100)]
    small = [(256, 4, 1, 10), (257, 4, 1, 10), *grey]
    return [
        _tiff([(256, 4, 1, 2**32 - 1), (257, 4, 1, 2**32 - 1), *grey]),
        _tiff([(256, 4, 1, 14_000), (257, 4, 1, 14_000), *grey]),
        _tiff(small, following=8),  # the list of pages bites its tail
        _tiff(small, following=10),
        _tiff([(256, 4, 1, 10), (257, 4, 1, 10), *grey[:-1], (279, 4, 2**30, 8)]),
        _tiff([*small, (34665, 4, 1, 8)]),  # EXIF within EXIF
        _tiff([(254, 4, 2**28, 8)] * 60),
    ]


def _gifs() -> list[bytes]:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x4c\x01\0\x3b"
    head = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
    small = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    return [head + frame, small + frame, small + frame[:-1] * 2000 + b"\x3b"]


def _bmps() -> list[bytes]:
    good = encoded(picture(), "BMP")
    sizes = [(60_000, 60_000), (-1, 40), (60, -40), (2**31 - 1, 2**31 - 1), (14_000, 14_000)]
    return [good[:18] + struct.pack("<ii", *size) + good[26:] for size in sizes]


def _ppms() -> list[bytes]:
    return [b"P6 60000 60000 255\n", b"P6 14000 14000 255\n\0", b"P3 2 2 " + b"9" * 5000, b"P1 " + b"#" * 10**6]


def _jpegs() -> list[bytes]:
    good = encoded(picture(), "JPEG", progressive=True)
    frame = good.index(b"\xff\xc2") + 5
    huge = good[:frame] + struct.pack(">HH", 65_500, 65_500) + good[frame + 4 :]
    large = good[:frame] + struct.pack(">HH", 14_000, 14_000) + good[frame + 4 :]
    scan = good.index(b"\xff\xda")
    return [huge, large, good[:-2] + good[scan:-2] * 300 + b"\xff\xd9"]


def pdfs() -> list[Sample]:
    """PDFs with endless trees, absurd pages and streams that unfold."""
    box = b"/MediaBox [0 0 100 60]"
    page = b"<< /Type /Page /Parent 2 0 R %s /Contents 4 0 R >>" % box
    one = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
    zeros = zlib.compress(b" " * 50_000_000)
    bomb = stream(zlib.compress(zeros), b"/Filter [/FlateDecode /FlateDecode]")
    itself = stream(b"/X1 Do /X1 Do", b"/Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X1 5 0 R >> >>")
    drawn = page[:-3] + b"/Resources << /XObject << /X1 5 0 R >> >> >>"
    picture_of = b"/Subtype /Image /Width 30000 /Height 30000 /ColorSpace /DeviceRGB /BitsPerComponent 8"
    made = [
        written_pdf(_CATALOGUE, one, page.replace(box, b"/MediaBox [0 0 1000000 1000000]"), stream(b"")),
        written_pdf(_CATALOGUE, one, page.replace(box, b"/MediaBox [0 0 1e38 1e38]"), stream(b"")),
        written_pdf(_CATALOGUE, one, page.replace(box, b"/MediaBox [0 0 100 60] /UserUnit 75000"), stream(b"")),
        written_pdf(_CATALOGUE, one.replace(b"/Count 1", b"/Count 1000000"), page, stream(b"")),
        written_pdf(_CATALOGUE, one.replace(b"/Count 1", b"/Count 2147483647"), page, stream(b"")),
        written_pdf(_CATALOGUE, b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 9 >>", page, stream(b"")),
        written_pdf(
            _CATALOGUE, b"<< /Type /Pages /Kids [%s] /Count 20000 >>" % (b"3 0 R " * 20_000), page, stream(b"")
        ),
        written_pdf(_CATALOGUE, one, page, bomb),
        written_pdf(_CATALOGUE, one, drawn, stream(b"/X1 Do"), itself),
        written_pdf(_CATALOGUE, one, drawn, stream(b"90 0 0 50 0 0 cm /X1 Do"), stream(b"\0", picture_of)),
        written_pdf(_CATALOGUE, one, page, stream(b"q " * 200_000)),
        written_pdf(_CATALOGUE, one, page, stream(b"0 0 m 1e9 1e9 l 1e-9 w [0.0001] 0 d S " * 50)),
        written_pdf(_CATALOGUE, one, page, stream(b""), trailer=b"/Prev 10 /XRefStm 10"),
        written_pdf(_CATALOGUE, one, page, b"4 0 R"),
        typeset_pdf().replace(b"startxref\n", b"startxref\n9"),
    ]
    return [alone("scan.pdf", data, hostile=True) for data in made]


def configs() -> list[Sample]:
    """YAML that grows, runs code or is not what it looks like."""
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    made = [
        laughs + "seed: *a11\n",
        laughs + "link: {fields: {a: *a11}}\n",
        "ingest: &a {languages: [*a]}\n",
        "seed: !!python/object/apply:os.system ['touch escaped']\n",
        "seed: !!python/name:os.system\n",
        "ingest: {boxes: /etc/passwd, regions: boxes}\n",
        "link: {fields: {'a\\nb': number}}\n'x\\ny\\e[2J': 1\n",
        "seed: " + "9" * 5000 + "\n",
        "seed: 2001-99-99\n",
        "<<: &a {<<: *a}\n",
        "ingest: {max_megapixels: .nan, page_seconds: .inf, dpi: 1e3}\n",
        "? {a: b}\n: c\n",
    ]
    return [alone("config.yaml", text.encode(), hostile=True) for text in made]
