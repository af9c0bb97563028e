"""Images as PNG files, to be drawn later without the data."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLORS = {1: 0, 3: 2}  # grey and RGB, as PNG numbers them
_LARGEST = 96


def as_png(image: np.ndarray) -> str:
    """Returns an image as the base64 of a PNG; empty if it is none.

    Pixels from 0 to 1 or from -1 to 1 are scaled to 0 to 255, those from 0 to 255 stay, and any
    other range is stretched. An image of more than 96 pixels a side is thinned out.

    Args:
        image: (height, width) or (height, width, channels) of 1 or 3 channels.

    Example:
        >>> as_png(np.zeros((2, 2)))[:12], as_png(np.zeros(7))
        ('iVBORw0KGgoA', '')

    References:
        Portable Network Graphics (PNG) Specification, W3C (2003), sections 5 and 11.
    """
    if image.ndim == 2:
        image = image[..., np.newaxis]
    if image.ndim != 3 or image.shape[-1] not in _COLORS or min(image.shape) < 1:
        return ""
    step = -(-max(image.shape[:2]) // _LARGEST)
    pixels = _bytes(image[::step, ::step])
    height, width, channels = pixels.shape
    # each line begins with the number of its filter: 0 is none
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLORS[channels], 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")
    return base64.b64encode(_SIGNATURE + b"".join(_chunk(*chunk) for chunk in chunks)).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def _bytes(image: np.ndarray) -> np.ndarray:
    """Pixels from 0 to 255."""
    if image.dtype == np.uint8:
        return image
    exact = image.astype(np.float64)
    low, high = float(exact.min()), float(exact.max())
    if low < 0:
        bound = 1.0 if max(-low, high) <= 1 else max(-low, high)
        exact = (exact + bound) / (2 * bound)
    elif high > 1:
        exact = exact / max(255.0, high)
    return np.clip(np.rint(exact * 255), 0, 255).astype(np.uint8)
