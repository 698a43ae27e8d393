"""Sheets that were scanned twice, which is seen although the second scan lies a little differently on the glass.

What a page looks like is kept as a small picture of its writing, levelled and stretched so that the ink fills it, and
as a perceptual hash of that picture: the signs of its lowest cosine terms (Zauner 2010, Implementation and benchmarking
of perceptual image hash functions). Pages with near hashes are laid over each other and compared place by place: two
receipts of one form agree nearly everywhere, but not in their numbers.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image

from linkage.scans.contrast import paper_colour
from linkage.scans.ink import small_grey, writing_on
from linkage.scans.tilt import find_tilt

WIDTH, HEIGHT = 704, 1024
"""Pixels of the small picture of the writing."""

_HASH = 16  # cosine terms each way
_FEWEST = 400  # pixels of writing: emptier pages are not compared
_ENDS = (0.02, 0.98)  # shares of the ink between which the picture is stretched: specks do not move them


@dataclass(frozen=True)
class PageLook:
    """What a page looks like.

    Attributes:
        bits: perceptual hash, _HASH * _HASH / 8 bytes; empty for a page without writing.
        writing: (HEIGHT, WIDTH) bool, packed and compressed; empty as `bits`.
    """

    bits: bytes = b""
    writing: bytes = b""

    def packed(self) -> str:
        """As text that `PageLook.unpacked` reads."""
        return " ".join(base64.b64encode(part).decode() for part in (self.bits, self.writing))

    @classmethod
    def unpacked(cls, text: str) -> PageLook:
        """Undo `packed`."""
        return cls(*map(base64.b64decode, text.split(" ")))

    def ink(self) -> np.ndarray:
        """The writing: (HEIGHT, WIDTH) float32, 0 or 1."""
        bits = np.frombuffer(zlib.decompress(self.writing), np.uint8)
        return np.unpackbits(bits).reshape(HEIGHT, WIDTH).astype(np.float32)


def look_at(image: Image.Image) -> PageLook:
    """What a page looks like; the same pixels give the same answer.

    Args:
        image: mode "L" or "RGB", as it is in the file.
    """
    small = small_grey(image)
    tilt = find_tilt(writing_on(small)).degrees
    levelled = small.rotate(tilt, Image.Resampling.BILINEAR, expand=True, fillcolor=paper_colour(small))
    writing = writing_on(levelled, strokes=True)
    if writing.sum() < _FEWEST:
        return PageLook()
    left, right = _ends(writing.sum(axis=0))
    top, bottom = _ends(writing.sum(axis=1))
    across, down = (right - left) / (0.9 * WIDTH), (bottom - top) / (0.9 * HEIGHT)
    stretch = (across, 0, left - 0.05 * WIDTH * across, 0, down, top - 0.05 * HEIGHT * down)
    grey = Image.fromarray(writing).convert("L")
    filled = grey.transform((WIDTH, HEIGHT), Image.Transform.AFFINE, stretch, Image.Resampling.BILINEAR)
    ink = np.asarray(filled) > 127
    return PageLook(_hash(filled), zlib.compress(np.packbits(ink).tobytes(), 9))


def hash_of(image: Image.Image) -> str:
    """SHA-256 of a page's decoded pixels, hexadecimal."""
    digest = hashlib.sha256(repr((image.mode, image.size)).encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _ends(profile: np.ndarray) -> tuple[float, float]:
    share = profile.cumsum() / profile.sum()
    first, last = np.searchsorted(share, _ENDS)
    return float(first), float(max(last, first + 1))


def _hash(filled: Image.Image) -> bytes:
    from scipy import fft

    tiny = np.asarray(filled.resize((4 * _HASH, 4 * _HASH), Image.Resampling.BOX), np.float32)
    terms = fft.dctn(tiny, norm="ortho")[:_HASH, :_HASH].ravel()
    return np.packbits(terms > np.median(terms)).tobytes()


# --- laid over each other -------------------------------------------------------------------------------------------

_LEVELS = ((8, (16, 11), 12), (4, (16, 11), 5), (1, (32, 22), 3))
"""Times reduced, block (pixels high and wide), how far it is moved either way, at each step of the alignment."""


_ALIKE = 0.35  # mean correlation of the blocks, at any step
_NEAR = np.ones((3, 3), bool)  # ink this far off is the same ink
_WINDOW = (13, 11)  # pixels: about a letter of ordinary print
_SWAPPED = 6  # pixels of either picture's ink that the other lacks in one window: a letter in another's place
_EDGE = (0.05, 0.02)  # of height and width: what lies beside the sheet gets in there
_UNMATCHED = 0.12  # share of the ink that the other picture may lack: specks, folds, what lies beside


def same_sheet(one: PageLook, other: PageLook) -> bool:
    """Whether two looks are of one sheet, scanned twice.

    What only one of them has is dirt, a fold, worn print or a neighbour on the glass; where each has ink that the
    other lacks, one letter stands in another's place, and they are two sheets of one form.
    """
    from scipy import ndimage

    if not one.writing or not other.writing:
        return False
    ink = one.ink()
    over = lay_over(ink, other.ink())
    if over is None:
        return False
    laid, ink = over > 0.5, ink > 0.5
    lacks = [ink & ~ndimage.binary_dilation(laid, _NEAR), laid & ~ndimage.binary_dilation(ink, _NEAR)]
    if sum(int(lack.sum()) for lack in lacks) > _UNMATCHED * (int(ink.sum()) + int(laid.sum())):
        return False
    down, right = round(_EDGE[0] * HEIGHT), round(_EDGE[1] * WIDTH)
    area = _WINDOW[0] * _WINDOW[1]
    dense = [ndimage.uniform_filter(lack.astype(np.float32), _WINDOW, mode="constant") * area for lack in lacks]
    swapped = np.minimum(*dense)[down:-down, right:-right]
    return bool(swapped.max() < _SWAPPED - 0.5)


def lay_over(one: np.ndarray, other: np.ndarray) -> np.ndarray | None:
    """Lay a picture of writing over another one of, perhaps, the same sheet.

    Blocks of the one are looked for on the other; an affine map fitted to where they lie is the start of the next,
    finer step. In the end every block is moved on its own.

    Args:
        one, other: (HEIGHT, WIDTH) float32, 0 or 1.

    Returns:
        The other as it lies over the one, (HEIGHT, WIDTH) float32; None where they are too unlike to be laid at all.
    """
    matrix = np.eye(3)
    laid = other
    for reduced, block, reach in _LEVELS:
        shape = (HEIGHT // reduced, reduced, WIDTH // reduced, reduced)
        pictures = [picture.reshape(shape).mean(axis=(1, 3)) for picture in (one, laid)]
        likeness, moves, mass = _moves(pictures[0], pictures[1], block, reach)
        if float(np.average(likeness, weights=mass + 1e-9)) < _ALIKE:
            return None
        if reduced > 1:
            step = _fitted(likeness, moves, mass, block)
            step[:2, 2] *= reduced
            matrix = matrix @ step
            laid = _mapped(other, matrix)
    y, x = np.indices(one.shape)
    rows, columns = (np.kron(moves[..., axis], np.ones(block, int)) for axis in (0, 1))
    moved: np.ndarray = laid[np.clip(y + rows, 0, HEIGHT - 1), np.clip(x + columns, 0, WIDTH - 1)]
    return moved


def _mapped(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    values = tuple(matrix[:2].ravel())
    image = Image.fromarray(picture)
    return np.asarray(image.transform(image.size, Image.Transform.AFFINE, values, Image.Resampling.BILINEAR))


def _moves(
    one: np.ndarray, other: np.ndarray, block: tuple[int, int], reach: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each block's best correlation within `reach`, where it was found (rows, columns), and the block's ink, 0..1."""
    height, width = block
    rows, columns = one.shape[0] // height, one.shape[1] // width

    def means(picture: np.ndarray) -> np.ndarray:
        blocks: np.ndarray = picture.reshape(rows, height, columns, width).mean(axis=(1, 3))
        return blocks

    mean, square = means(one), means(one * one)
    best = np.full((rows, columns), -1.0)
    moves = np.zeros((rows, columns, 2), int)
    span = range(-reach, reach + 1)
    # The nearest first: a block without ink stays where it is.
    for down, right in sorted(product(span, span), key=lambda move: move[0] ** 2 + move[1] ** 2):
        moved = np.roll(other, (-down, -right), (0, 1))
        there = means(moved)
        spread = (square - mean**2) * (means(moved * moved) - there**2)
        found = (means(one * moved) - mean * there) / np.sqrt(np.maximum(spread, 1e-8))
        better = found > best + 1e-6
        best[better] = found[better]
        moves[better] = (down, right)
    return best, moves, mean


def _fitted(likeness: np.ndarray, moves: np.ndarray, mass: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """The affine map (3, 3) from places on the one picture to those on the other, by the blocks found best."""
    rows, columns = np.indices(likeness.shape)
    y, x = ((rows + 0.5) * block[0]).ravel(), ((columns + 0.5) * block[1]).ravel()
    places = np.stack([x, y, np.ones_like(x)], axis=1)
    target = np.stack([x, y], axis=1) + moves.reshape(-1, 2)[:, ::-1]
    believed = np.where(mass.ravel() > 0.01, np.clip(likeness.ravel(), 0, 1) ** 3, 0)
    solved, weight = np.eye(3)[:, :2], believed
    for _ in range(6):
        if (weight > 0.05).sum() < 6:
            break
        root = np.sqrt(weight)[:, None]
        solved = np.linalg.lstsq(places * root, target * root, rcond=None)[0]
        off = np.linalg.norm(places @ solved - target, axis=1)
        weight = believed / (1 + (off / 2) ** 2)  # a block found in the wrong place pulls little
    return np.vstack([solved.T, [0, 0, 1]])
