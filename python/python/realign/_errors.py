"""What can go wrong."""


class Error(Exception):
    """Everything that realign raises by itself derives from this. The message says what is wrong, where, and what to do."""


class InputError(Error, ValueError):
    """An argument or data that cannot be used: a shape, a NaN, a name that is unknown."""


class FileError(Error, OSError):
    """A file that cannot be read or written, is damaged, or is there already."""


class DeviceError(Error, RuntimeError):
    """A device that is not there, lacks what is needed, has no memory left, or was lost."""


class RealignWarning(UserWarning):
    """What realign warns of."""


class CopyWarning(RealignWarning):
    """Rows that had to be copied: they are in another type or order than realign reads where it lies."""
