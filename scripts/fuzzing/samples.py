"""Valid files of every kind that Linkage reads, made on the spot: small, using what their formats offer."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

TEXT = (".csv", ".yaml", ".json", ".xml", ".txt", ".hocr", ".html")


@dataclass(frozen=True)
class Sample:
    """Files by name, relative to a folder; which of them are to be damaged, the likelier the oftener they stand here.

    `hostile`: made to do harm as it is, so a reader may refuse it.
    """

    files: dict[str, bytes]
    damageable: tuple[str, ...]
    hostile: bool = False


def alone(name: str, data: bytes, *, hostile: bool = False) -> Sample:
    """A sample of one file."""
    return Sample({name: data}, (name,), hostile)


@lru_cache(maxsize=1)
def samples() -> dict[str, Callable[[], list[Sample]]]:
    """What makes the valid files of each kind."""
    from fuzzing import artefacts, hostile, markup

    return {kind: partial(_images, kind) for kind in _IMAGES} | {
        "pdf": lambda: [*_pdfs(), *hostile.pdfs()],
        **{form: partial(markup.transcripts, form) for form in ("alto", "page", "hocr")},
        "mets": markup.mets,
        "iiif": markup.iiif,
        "records": _records,
        "boxes": _boxes,
        "truth": _truths,
        "config": lambda: [*_configs(), *hostile.configs()],
        "parquet": artefacts.parquet,
        "model": artefacts.model,
        "embeddings": artefacts.embeddings,
        "index": artefacts.index,
        "map": artefacts.map_of_models,
        "scorer": artefacts.scorer,
        "ledger": artefacts.ledger,
        "run": artefacts.run,
    }


@lru_cache(maxsize=8)
def samples_of(kind: str) -> list[Sample]:
    """The valid files of a kind, made once."""
    return samples()[kind]()


def picture(mode: str = "RGB", size: tuple[int, int] = (60, 40), seed: int = 0) -> Image.Image:
    """A line of ink on speckled paper."""
    noise = np.random.default_rng(seed).integers(200, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    ImageDraw.Draw(image).text((4, 10), f"No {seed}", fill=(20, 0, 0))
    return image.convert(mode)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _images(kind: str) -> list[Sample]:
    from fuzzing import hostile

    made, suffix = _IMAGES[kind]
    valid = [alone(f"scan.{suffix}", data) for data in made()]
    return valid + [alone(f"scan.{suffix}", data, hostile=True) for data in hostile.images(kind)]


def _tiffs() -> list[bytes]:
    pages = [picture(seed=n) for n in range(3)]
    many = {"save_all": True, "append_images": pages[1:]}
    made = [
        encoded(pages[0], "TIFF", compression=name, **many)
        for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    ]
    bits = [page.convert("1") for page in pages]
    made += [encoded(bits[0], "TIFF", compression=name) for name in ("group3", "group4", "tiff_ccitt")]
    deep = Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60) * 27)
    tiled = encoded(picture("CMYK"), "TIFF", compression="tiff_lzw")
    real = Image.fromarray(np.linspace(0, 1, 2400, dtype=np.float32).reshape(40, 60))
    big = encoded(pages[0], "TIFF", big_tiff=True, **many)
    return [*made, encoded(deep, "TIFF"), tiled, encoded(real, "TIFF"), encoded(picture("P"), "TIFF"), big]


def _pngs() -> list[bytes]:
    deep = Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60) * 27)
    palette = encoded(picture("P"), "PNG", transparency=3)
    moving = encoded(picture(), "PNG", save_all=True, append_images=[picture(seed=1)])
    modes = [encoded(picture(mode), "PNG") for mode in ("RGB", "L", "RGBA", "LA", "1")]
    return [*modes, encoded(deep, "PNG"), palette, moving, encoded(picture(), "PNG", dpi=(300, 300))]


def _jpegs() -> list[bytes]:
    turned = Image.Exif()
    turned[274] = 6
    return [
        encoded(picture(), "JPEG"),
        encoded(picture("L"), "JPEG", quality=20),
        encoded(picture(), "JPEG", progressive=True, exif=turned),
        encoded(picture("CMYK"), "JPEG"),
        encoded(picture(), "JPEG", restart_marker_rows=1, optimize=True),
    ]


def _webps() -> list[bytes]:
    moving = encoded(picture(), "WEBP", save_all=True, append_images=[picture(seed=1)])
    return [encoded(picture(), "WEBP"), encoded(picture("RGBA"), "WEBP", lossless=True), moving]


def _jp2s() -> list[bytes]:
    tiles = encoded(picture(), "JPEG2000", tile_size=(32, 32), num_resolutions=2)
    lossy = encoded(picture(), "JPEG2000", irreversible=True, quality_layers=[20, 5])
    return [encoded(picture(), "JPEG2000"), tiles, lossy, encoded(picture("LA"), "JPEG2000", no_jp2=False)]


def _gifs() -> list[bytes]:
    moving = encoded(picture("P"), "GIF", save_all=True, append_images=[picture("P", seed=1)], duration=10)
    return [encoded(picture("P"), "GIF"), moving, encoded(picture("P"), "GIF", transparency=2, interlace=1)]


def _bmps() -> list[bytes]:
    return [encoded(picture(mode), "BMP") for mode in ("RGB", "L", "1", "P", "RGBA")]


def _ppms() -> list[bytes]:
    plain = b"P3\n# a comment\n2 2\n255\n" + b"1 2 3 " * 4
    deep = b"P5 4 4 65535\n" + bytes(range(32))
    return [*(encoded(picture(mode), "PPM") for mode in ("RGB", "L", "1")), plain, deep, b"P2\n3 1\n9\n0 5 9\n"]


_IMAGES: dict[str, tuple[Callable[[], list[bytes]], str]] = {
    "tiff": (_tiffs, "tif"),
    "png": (_pngs, "png"),
    "jpeg": (_jpegs, "jpg"),
    "webp": (_webps, "webp"),
    "jp2": (_jp2s, "jp2"),
    "gif": (_gifs, "gif"),
    "bmp": (_bmps, "bmp"),
    "ppm": (_ppms, "ppm"),
}


def written_pdf(*objects: bytes, trailer: bytes = b"") -> bytes:
    """A PDF of objects numbered from 1; the first is the catalogue."""
    data, offsets = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    end = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R %s >>" % (size, table, size, trailer)
    return data + end + b"\nstartxref\n%d\n%%%%EOF\n" % len(data)


def stream(content: bytes, extra: bytes = b"") -> bytes:
    """A PDF stream."""
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), extra, content)


def typeset_pdf() -> bytes:
    """Text in a built-in font, lines, a form and an inline picture on two pages; one rotated."""
    ink = b"BT /F1 12 Tf 10 40 Td (Dupont & Fils) Tj ET 1 0 0 RG 5 5 m 90 50 l S q 20 0 0 20 10 10 cm /X1 Do Q "
    inline = b"q 8 0 0 8 60 8 cm BI /W 2 /H 2 /CS /G /BPC 8 ID \x00\xff\xff\x00 EI Q"
    use = b"/Resources << /Font << /F1 5 0 R >> /XObject << /X1 6 0 R >> >> /Contents 7 0 R"
    sheet = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 60] " + use
    return written_pdf(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 2 >>",
        sheet + b" >>",
        sheet + b" /Rotate 90 /CropBox [5 5 95 55] >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        stream(b"0.5 g 0 0 1 1 re f", b"/Type /XObject /Subtype /Form /BBox [0 0 1 1]"),
        stream(ink + inline),
    )


def _pdfs() -> list[Sample]:
    pages = [picture(seed=n) for n in range(3)]
    one = encoded(pages[0], "PDF")
    many = encoded(pages[0], "PDF", save_all=True, append_images=pages[1:])
    bits = encoded(pages[0].convert("1"), "PDF")
    return [alone("scan.pdf", data) for data in (one, many, bits, typeset_pdf(), typeset_pdf())]


def _records() -> list[Sample]:
    """Tables of records beside the pictures that they name."""
    rows = "record_id,image,text,entity_id,split,role,price,page,source\n" + "".join(
        f'r{n},images/{n}.png,"Dupont, {n} & Fils",e{n},train,query,{n}.50,{n},book.pdf\n' for n in range(1, 5)
    )
    plain = "record_id,text\na,one\nb,two\nc,'=1+1\n"
    quoted = 'record_id,image,text\r\n"r1","images/1.png","two\r\nlines, one ""cell"""\r\n'
    pictures = {f"images/{n}.png": encoded(picture(seed=n), "PNG") for n in range(1, 5)}
    return [Sample({"records.csv": text.encode(), **pictures}, ("records.csv",)) for text in (rows, plain, quoted)]


def _boxes() -> list[Sample]:
    corners = "source,page,x0,y0,x1,y1,unit,record_id,text,direction,shelf\n" + "".join(
        f'scan.png,1,{n},2,{n + 20},{n + 9},px,r{n},"Dupont, {n}",horizontal,B{n}\n' for n in range(4)
    )
    sized = "image,x,y,w,h,unit\nscan.png,10,10,50,20,%\nscan.pdf,5,5,60,20,pt\n"
    return [alone("boxes.csv", text.encode()) for text in (corners, sized)]


def _truths() -> list[Sample]:
    by_id = "record_id,entity_id,split,role\n" + "".join(f"r{n},e{n},val,query\n" for n in range(5))
    by_box = "source,page,x0,y0,x1,y1,entity_id,text\n" + "".join(f"scan.png,1,{n},1,9,9,e{n},x\n" for n in range(5))
    by_size = "image,x,y,w,h,entity_id\nscan.png,1,1,20,20,e1\n"
    return [alone("truth.csv", text.encode()) for text in (by_id, by_box, by_size)]


def _configs() -> list[Sample]:
    from linkage.config import Config, dump_config

    folder = Path(__file__).parents[2] / "configs"
    own = [path.read_bytes() for path in sorted(folder.glob("*.yaml"))]
    return [alone("config.yaml", data) for data in (*own, dump_config(Config()).encode())]


def in_folder(make: Callable[[Path], object]) -> dict[str, bytes]:
    """The files that `make` writes into a folder, by name."""
    with tempfile.TemporaryDirectory() as name:
        make(Path(name))
        return {
            str(path.relative_to(name)): path.read_bytes() for path in sorted(Path(name).rglob("*")) if path.is_file()
        }
