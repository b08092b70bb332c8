"""realign closes the modality gap: encoders such as CLIP put images and texts in one space, yet the two clouds stay apart.

    >>> import realign
    >>> st = realign.fit(text, image)              # arrays, tensors, columns, or paths
    >>> aligned = st.apply(text)                   # in the image's cloud, rows of norm 1
    >>> realign.measure(text, image, aligned)      # every diagnostic; in a notebook the page with its charts

Rows are arrays ``[n, d]``. NumPy's float16, float32 and float64 in C order, tensors on the host, buffers and columns of Arrow are read where they
lie; others are copied, with a :class:`CopyWarning`. Do not write into an array while realign reads it.
"""

from . import train
from ._align import Statistics, fit, load
from ._assistant import Answer, Assistant
from ._devices import Device, devices
from ._encode import ImageEncoder, TextEncoder
from ._errors import CopyWarning, DeviceError, Error, FileError, InputError, RealignWarning
from ._geometry import Frame, Result, calibrate, compare, measure
from ._rank import Ranking
from ._realign import __version__
from ._stats import Covariance, Moments

__all__ = [
    "Answer",
    "Assistant",
    "CopyWarning",
    "Covariance",
    "Device",
    "DeviceError",
    "Error",
    "FileError",
    "Frame",
    "ImageEncoder",
    "InputError",
    "Moments",
    "Ranking",
    "RealignWarning",
    "Result",
    "Statistics",
    "TextEncoder",
    "__version__",
    "calibrate",
    "compare",
    "devices",
    "fit",
    "load",
    "measure",
    "train",
]
