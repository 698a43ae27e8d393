"""Decode pictures that come from anywhere into plain RGB or grey ones, and encode crops for keeping."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from linkage.errors import InputError

# Formats whose decoders run inside Pillow. EPS and its like would start an outside program.
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "JPEG2000", "BMP", "GIF", "PPM")
IMAGE_SUFFIXES = frozenset(".png .jpg .jpeg .tif .tiff .webp .jp2 .j2k .jpx .bmp .gif .pbm .pgm .ppm .pnm".split())
JPEG_QUALITY = 90
JPEG_EDGE = 65_500  # the format ends there


def open_image(data: bytes | Path, max_megapixels: float = 200.0) -> Image.Image:
    """Decode one picture (the first one, where the file holds several).

    The EXIF orientation is applied, 16 bits are scaled to 8, palettes, CMYK and transparency are turned into
    colours on white paper.

    Args:
        data: encoded bytes, or the file.
        max_megapixels: more pixels (in millions) are refused before anything is decoded.

    Returns:
        A picture of mode "RGB" or "L", 8 bits per channel.

    Raises:
        InputError: unreadable, truncated, not a picture, or too large; the message is the reason, without the
            file's name.
    """
    with opened(data) as image:
        return decode(image, max_megapixels)


@contextmanager
def opened(data: bytes | Path) -> Iterator[Image.Image]:
    """Open a picture without decoding it, inside `guarded`."""
    with guarded(), Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=FORMATS) as image:
        yield image


@contextmanager
def guarded() -> Iterator[None]:
    """Any damage of a picture met inside the block becomes an InputError."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None  # `decode` has a limit of its own, which Pillow's would forestall
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd metadata
            yield
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError("not an image") from None
    except MemoryError:
        raise InputError("not enough memory to decode it") from None
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise InputError(f"damaged or unreadable image ({_reason(error)})") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def decode(image: Image.Image, max_megapixels: float) -> Image.Image:
    """Decode the current frame of an opened picture; see `open_image`.

    Raises:
        InputError: too many pixels or none.
    """
    check_size(*image.size, max_megapixels)
    image.load()
    return _on_white(_eight_bits(_upright(image)))


def check_size(width: int, height: int, max_megapixels: float) -> None:
    """Raise InputError where a picture of this size has no pixels or more than allowed."""
    if width < 1 or height < 1:
        raise InputError(f"{width} x {height} pixels: nothing to see")
    if width * height > max_megapixels * 1e6:
        raise InputError(f"{width} x {height} pixels are more than ingest.max_megapixels = {max_megapixels:g} allows")


def encode_crop(image: Image.Image) -> bytes:
    """Encode a crop (mode RGB or L) as JPEG, or PNG where it is too long for JPEG; deterministic."""
    buffer = io.BytesIO()
    if max(image.size) > JPEG_EDGE:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return buffer.getvalue()


def decode_crop(data: bytes) -> Image.Image:
    """Decode a crop; see `open_image`."""
    return open_image(data)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the picture is fine, only its EXIF block is not: as good as none
        return image.copy()


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image, dtype=np.float32)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    top = float(values.max(initial=0.0))
    if image.mode.startswith("I;16") or 255 < top <= 65535:
        white = 65535.0
    elif image.mode == "F" and top <= 1:
        white = 1.0
    else:
        white = max(top, 255.0)
    return Image.fromarray(np.clip(values * (255.0 / white), 0, 255).round().astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "RGB"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        inked = image.convert("RGBA")
        paper = Image.new("RGBA", inked.size, "white")
        return Image.alpha_composite(paper, inked).convert("L" if image.mode in ("LA", "La") else "RGB")
    return image.convert("RGB")


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
