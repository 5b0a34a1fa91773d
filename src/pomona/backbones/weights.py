"""Reads the weights that PyTorch saved, without PyTorch.

Before 1.6 `torch.save` wrote one stream: pickles of a magic number, a protocol version, the
writer's byte order, the object itself and its storages' keys, then each storage as a 64-bit
element count and its raw elements. A pickle can call anything it can name; this one may name
only what a dictionary of tensors is made of, and no tensor may reach outside its storage.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from pomona.errors import BackboneError

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
DTYPES = {
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
}

# Raised by a pickle that is cut short or tampered with
_UNPICKLING_FAILURES = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
)


def load_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Reads a dictionary of tensors that `torch.save` wrote in the legacy (not zip) format.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict of str to ndarray
        Each tensor by its name, C-contiguous, with the shape and dtype that it was saved with.

    Raises
    ------
    BackboneError
        If the file cannot be read, is cut short or of another format, names anything but tensors
        and dictionaries, or holds a tensor that reaches outside its storage.
    """
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise BackboneError(f"cannot read the weights {path}: {exc.strerror}") from exc
    try:
        return _parse(content)
    except _UNPICKLING_FAILURES as exc:
        detail = " ".join(str(exc).split()) or type(exc).__name__
        raise BackboneError(
            f"{path} is not a complete PyTorch weights file in the legacy format ({detail}); "
            "reinstall the package it came with"
        ) from exc


class _Storage(NamedTuple):
    key: str
    dtype: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _StateDict(dict[Any, Any]):
    """Stands for the OrderedDict in the file."""

    def __setstate__(self, state: object) -> None:
        """Drop the attributes pickled with it: module versions."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # Nothing returned here outlives the load or can be changed through a BUILD opcode.
        if (module, name) == ("collections", "OrderedDict"):
            return _StateDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(
                storage, offset, shape, strides
            )
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", dtype, str(key), _, int(length), None):
                if dtype in DTYPES.values() and length >= 0:
                    return _Storage(key, dtype, length)
        raise pickle.UnpicklingError("unknown kind of storage")


def _parse(content: bytes) -> dict[str, NDArray[Any]]:
    stream = io.BytesIO(content)
    if _Unpickler(stream).load() != MAGIC:
        raise ValueError("wrong magic number")
    if _Unpickler(stream).load() != PROTOCOL:
        raise ValueError("unknown protocol version")
    match _Unpickler(stream).load():
        case {"little_endian": True}:
            pass
        case _:
            raise ValueError("not little-endian")
    state = _Unpickler(stream).load()
    keys = _Unpickler(stream).load()
    if not isinstance(state, _StateDict) or not isinstance(keys, list):
        raise TypeError("not a dictionary of tensors")

    storages = {}
    for tensor in state.values():
        if not isinstance(tensor, _Tensor) or not isinstance(tensor.storage, _Storage):
            raise TypeError("a value is not a tensor")
        storages[tensor.storage.key] = tensor.storage
    elements = {key: _read_storage(stream, storages[key]) for key in keys}
    return {
        str(name): _view(elements[tensor.storage.key], tensor) for name, tensor in state.items()
    }


def _read_storage(stream: io.BytesIO, storage: _Storage) -> NDArray[Any]:
    dtype = np.dtype(storage.dtype)
    length = int.from_bytes(stream.read(8), "little")
    if length != storage.length:
        raise ValueError(f"storage {storage.key} has {length} elements, not {storage.length}")
    raw = stream.read(length * dtype.itemsize)
    if len(raw) != length * dtype.itemsize:
        raise EOFError(f"storage {storage.key} is cut short")
    return np.frombuffer(raw, dtype)


def _view(elements: NDArray[Any], tensor: _Tensor) -> NDArray[Any]:
    _, offset, shape, strides = tensor
    if len(shape) != len(strides) or min((offset, *shape, *strides)) < 0:
        raise ValueError("a tensor has no valid shape")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    size = math.prod(shape)
    # A stride of zero stays inside the storage and still asks for any amount of memory.
    if size > len(elements) or (size and last >= len(elements)):
        raise ValueError("a tensor reaches outside its storage")
    byte_strides = [stride * elements.itemsize for stride in strides]
    return as_strided(elements[offset:], shape, byte_strides, writeable=False).copy()
