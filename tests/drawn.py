"""Pages and damaged files drawn on the fly for the ingest tests."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.TiffImagePlugin import TiffImageFile


def page(
    lines: Sequence[str] = ("Linkage & Sons", "12, Market Street"), size: tuple[int, int] = (700, 300)
) -> Image.Image:
    """A white page with lines of print."""
    image = Image.new("L", size, 255)
    font = ImageFont.truetype("DejaVuSans.ttf", 28)
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((40, 30 + 50 * number), line, font=font, fill=0)
    return image


def speckled(seed: int, size: tuple[int, int] = (60, 40)) -> Image.Image:
    """A small picture unlike any other."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, size[::-1], dtype=np.uint8))


def write_bomb(path: Path, edge: int = 60_000) -> None:
    """A PNG of a few bytes that claims edge x edge pixels."""
    header = struct.pack(">IIBBBBB", edge, edge, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b"")]
    data = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def write_broken_tiff(path: Path) -> None:
    """Three pages, of which the second one's pixels are garbage."""
    pages = [page([f"page {number}"]) for number in (1, 2, 3)]
    pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_adobe_deflate")
    with Image.open(path) as image:
        assert isinstance(image, TiffImageFile)
        image.seek(1)
        offset, length = image.tag_v2[273][0], image.tag_v2[279][0]
    data = bytearray(path.read_bytes())
    data[offset : offset + length] = b"\xff" * length
    path.write_bytes(data)


def write_pdf(path: Path, *objects: str, trailer: str = "") -> None:
    """A PDF of hand-written objects, numbered from 1; the first one is the catalogue."""
    data = b"%PDF-1.4\n"
    offsets = []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{content}\nendobj\n".encode("latin-1")
    start = len(data)
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n<< /Size {len(objects) + 1} /Root 1 0 R"
    path.write_bytes(data + f"{end} {trailer} >>\nstartxref\n{start}\n%%EOF\n".encode())


CATALOGUE = "<< /Type /Catalog /Pages 2 0 R >>"
ONE_PAGE = "<< /Type /Pages /Kids [3 0 R] /Count 1 >>"


def write_encrypted_pdf(path: Path) -> None:
    """A PDF that no empty password opens."""
    lock = f"<< /Filter /Standard /V 1 /R 2 /P -4 /O <{'ab' * 32}> /U <{'cd' * 32}> >>"
    sheet = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] >>"
    write_pdf(path, CATALOGUE, ONE_PAGE, sheet, lock, trailer=f"/Encrypt 4 0 R /ID [<{'ef' * 16}> <{'ef' * 16}>]")


def write_huge_pdf(path: Path) -> None:
    """A PDF with a page of five by five metres."""
    write_pdf(path, CATALOGUE, ONE_PAGE, "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 14400 14400] >>")


def write_empty_pdf(path: Path) -> None:
    """A PDF without a page."""
    write_pdf(path, CATALOGUE, "<< /Type /Pages /Kids [] /Count 0 >>")
