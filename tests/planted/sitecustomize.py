"""Plants a faulty codec: with this folder in PYTHONPATH, images marked so crash or hang it."""

import ctypes

import simplejpeg
from PIL import ImageFile

FAULTS = {
    b"crash": lambda: ctypes.string_at(0),
    # As a codec in an endless loop does: it keeps the interpreter's lock.
    b"hang": lambda: ctypes.PyDLL(None).sleep(3600),
}
_load, _decode_jpeg = ImageFile.ImageFile.load, simplejpeg.decode_jpeg


def load(self, *args, **kwargs):  # type: ignore[no-untyped-def]
    fault = FAULTS.get(self.info.get("comment", b""))
    if fault:
        fault()  # type: ignore[no-untyped-call]
    return _load(self, *args, **kwargs)


def decode_jpeg(data, *args, **kwargs):  # type: ignore[no-untyped-def]
    """A comment is a segment: its marker, its length with these two bytes, its text."""
    for mark, fault in FAULTS.items():
        if b"\xff\xfe\0" + bytes([2 + len(mark)]) + mark in data:
            fault()  # type: ignore[no-untyped-call]
    return _decode_jpeg(data, *args, **kwargs)


simplejpeg.decode_jpeg = decode_jpeg
ImageFile.ImageFile.load = load  # type: ignore[method-assign]
