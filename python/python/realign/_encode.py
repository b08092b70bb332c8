"""Pictures and texts to vectors."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from typing import Any

from . import _realign
from ._errors import InputError

#: A path, or the bytes of a file, or RGB bytes with height and width.
_Given = tuple[str | None, bytes | None, int, int]


def _picture(value: Any, place: int) -> _Given:
    """A picture as the extension takes it."""
    if isinstance(value, (str, os.PathLike)):
        return os.path.expanduser(os.fspath(value)), None, 0, 0
    if isinstance(value, (bytes, bytearray)):
        return None, bytes(value), 0, 0
    if hasattr(value, "convert") and hasattr(value, "getexif"):
        return _of_pillow(value)
    import numpy as np

    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as problem:
        raise InputError(f"picture {place}: {problem}") from problem
    if array.dtype != np.uint8:
        raise InputError(f"picture {place}: numbers of type {array.dtype}; give uint8, 0 to 255")
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise InputError(f"picture {place}: shape {list(array.shape)}; give [height, width, 3], red, green and blue")
    return None, np.ascontiguousarray(array).tobytes(), array.shape[0], array.shape[1]


def _of_pillow(value: Any) -> _Given:
    from PIL import ImageOps

    picture = ImageOps.exif_transpose(value)
    if picture.mode in ("L", "RGB", "CMYK", "YCbCr", "1") and "transparency" not in picture.info:
        return None, picture.convert("RGB").tobytes(), picture.height, picture.width
    # Transparency is treated as in files.
    file = io.BytesIO()
    picture.convert("RGBA").save(file, "png", compress_level=0)
    return None, file.getvalue(), 0, 0


def _list(values: Any, single: tuple[type, ...], what: str) -> list[Any]:
    if isinstance(values, single) or not isinstance(values, Iterable):
        raise InputError(f"give a list of {what}")
    return list(values)


class ImageEncoder:
    """The image tower of a folder of CLIP or SigLIP in Hugging Face's layout.

    >>> encoder = realign.ImageEncoder("clip-vit-large-patch14")
    >>> rows = encoder(["cat.jpg", Image.open("dog.png"), array])
    """

    __slots__ = ("_inner",)

    def __init__(
        self, folder: str | os.PathLike[str], *, normalize: bool = False, precision: str = "f32", device: str = "auto"
    ) -> None:
        """Loads it; ``normalize`` divides rows by their norms, ``precision`` is ``f32`` or ``mixed``."""
        self._inner = _realign.ImageEncoder(os.path.expanduser(os.fspath(folder)), normalize, precision, device)

    def __call__(self, pictures: Any, *, batch_size: int | None = None) -> Any:
        """Embeddings float32 ``[n, width]`` of paths, files' bytes, pictures of Pillow, or uint8 arrays ``[height, width, 3]``."""
        many = _list(pictures, (str, os.PathLike, bytes), "pictures")
        return self._inner.encode([_picture(picture, i) for i, picture in enumerate(many)], batch_size)

    @property
    def width(self) -> int:
        """Numbers of a row."""
        return self._inner.numbers()[0]

    @property
    def image_size(self) -> int:
        """Pixels of a side of what the tower sees."""
        return self._inner.numbers()[1]

    @property
    def batch_size(self) -> int:
        """Pictures that are computed at a time by default."""
        return self._inner.numbers()[2]

    @property
    def device(self) -> str:
        """Name of the device."""
        return self._inner.numbers()[3]


class TextEncoder:
    """The text tower of a folder of CLIP or SigLIP, a sentence encoder, or a decoder.

    >>> encoder = realign.TextEncoder("all-MiniLM-L6-v2")
    >>> rows = encoder(["a photo of a cat", "a photo of a dog"])
    """

    __slots__ = ("_inner",)

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        pooling: str | None = None,
        bidirectional: bool = False,
        projection: str | os.PathLike[str] | None = None,
        normalize: bool = False,
        precision: str = "f32",
        device: str = "auto",
    ) -> None:
        """Loads it.

        Args:
            folder: The model.
            prompt: A text that is put before each text.
            prompt_name: The same by the name that a folder of sentence-transformers has for it.
            pooling: ``first``, ``last``, ``mean`` or ``max``, where the folder does not say it.
            bidirectional: A decoder's tokens see those behind them, too.
            projection: A safetensors file with a matrix that a decoder's rows are multiplied by.
            normalize: Divide rows by their norms.
            precision: ``f32`` or ``mixed``.
            device: As everywhere.
        """
        args = {
            "prompt": prompt,
            "prompt_name": prompt_name,
            "pooling": pooling,
            "bidirectional": bidirectional,
            "projection": None if projection is None else os.fspath(projection),
            "normalize": normalize,
            "precision": precision,
        }
        self._inner = _realign.TextEncoder(os.path.expanduser(os.fspath(folder)), args, device)

    def __call__(self, texts: Iterable[str]) -> Any:
        """Embeddings float32 ``[n, width]``; texts that are too long are cut, with a warning."""
        many = _list(texts, (str, bytes), "texts")
        for i, text in enumerate(many):
            if not isinstance(text, str):
                raise InputError(f"text {i}: {type(text).__name__} is no text")
        return self._inner.encode(many)

    @property
    def width(self) -> int:
        """Numbers of a row."""
        return self._inner.numbers()[0]

    @property
    def max_tokens(self) -> int:
        """The most tokens of a text."""
        return self._inner.numbers()[1]

    @property
    def device(self) -> str:
        """Name of the device."""
        return self._inner.numbers()[2]
