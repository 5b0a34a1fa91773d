"""Plants a faulty codec: with this folder in PYTHONPATH, images marked so crash or hang Pillow."""

import ctypes

from PIL import ImageFile

FAULTS = {
    b"crash": lambda: ctypes.string_at(0),
    # As a codec in an endless loop does: it keeps the interpreter's lock.
    b"hang": lambda: ctypes.PyDLL(None).sleep(3600),
}
_load = ImageFile.ImageFile.load


def load(self, *args, **kwargs):  # type: ignore[no-untyped-def]
    fault = FAULTS.get(self.info.get("comment", b""))
    if fault:
        fault()  # type: ignore[no-untyped-call]
    return _load(self, *args, **kwargs)


ImageFile.ImageFile.load = load  # type: ignore[method-assign]
