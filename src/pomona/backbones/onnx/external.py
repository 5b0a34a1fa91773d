"""Weights in files beside a model, as exporters write those of large networks."""

from __future__ import annotations

import hashlib
import math
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx

from pomona.backbones.onnx.cut import shown
from pomona.errors import BackboneError

MAX_BYTES = 2**31 - 1  # of a protobuf message, which the network becomes
_CHUNK_BYTES = 2**22
_BITS = {
    onnx.TensorProto.FLOAT: 32,
    onnx.TensorProto.FLOAT16: 16,
    onnx.TensorProto.BFLOAT16: 16,
    onnx.TensorProto.DOUBLE: 64,
    onnx.TensorProto.INT64: 64,
    onnx.TensorProto.INT32: 32,
    onnx.TensorProto.INT16: 16,
    onnx.TensorProto.INT8: 8,
    onnx.TensorProto.UINT64: 64,
    onnx.TensorProto.UINT32: 32,
    onnx.TensorProto.UINT16: 16,
    onnx.TensorProto.UINT8: 8,
    onnx.TensorProto.BOOL: 8,
    onnx.TensorProto.INT4: 4,
    onnx.TensorProto.UINT4: 4,
}


def find_files(path: Path, model: onnx.ModelProto) -> dict[str, Path]:
    """Finds the files that hold numbers of a model's tensors, by their names in it.

    Parameters
    ----------
    path : Path
        The model's file. The others are in its folder; if it is a link, in its target's, too.
    model : onnx.ModelProto
        The model.

    Raises
    ------
    BackboneError
        If there is no such file, or it is elsewhere.
    """
    folders = {path.parent.resolve(), path.resolve().parent}
    files = {}
    for name in sorted({_place(each).get("location", "") for each in _tensors(model)}):
        told = f"{path} keeps weights in {shown(name)!r}"
        try:
            file = (path.parent / name).resolve(strict=True)
            is_plain = stat.S_ISREG(file.stat().st_mode)
        except (OSError, ValueError, RuntimeError) as exc:
            raise BackboneError(f"{told}, which is not beside it: copy it there, too") from exc
        is_inside = ".." not in Path(name).parts and not Path(name).is_absolute()
        if not (is_plain and is_inside and any(map(file.is_relative_to, folders))):
            raise BackboneError(f"{told}, which is no file in its folder: export it again")
        files[name] = file
    return files


def digest(content: bytes, files: Iterable[Path]) -> str:
    """Returns the SHA-256 of a model's file with the others behind it, in hexadecimal."""
    found = hashlib.sha256(content)
    for file in files:
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK_BYTES):
                found.update(chunk)
    return found.hexdigest()


def load(path: Path, model: onnx.ModelProto, files: dict[str, Path]) -> None:
    """Reads the numbers of a model's tensors into it.

    Parameters
    ----------
    path : Path
        The model's file, for messages.
    model : onnx.ModelProto
        The model, of which only the tensors that are wanted are left.
    files : dict
        As `find_files` returns them.

    Raises
    ------
    BackboneError
        If they are too many, or not where the model says.
    """
    tensors = list(_tensors(model))
    if sum(map(_size_bytes, tensors)) > MAX_BYTES:
        raise BackboneError(f"{path} has more weights than {MAX_BYTES:,} bytes: take a smaller one")
    for tensor in tensors:
        place, size = _place(tensor), _size_bytes(tensor)
        name = place["location"]
        start, length = int(place.get("offset", 0)), int(place.get("length", size))
        with files[name].open("rb") as file:
            file.seek(max(0, start))
            data = file.read(size)
        if start < 0 or length != size or len(data) != size:
            raise BackboneError(
                f"{path} does not fit {shown(name)}: {shown(tensor.name)} has {size:,} bytes, "
                f"{len(data):,} of them there: copy both again"
            )
        tensor.raw_data = data
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _tensors(model: onnx.ModelProto) -> Iterator[Any]:
    """The tensors of a model whose numbers are in other files.

    Wherever in it they are: constants, branches, loops, functions, sparse ones.
    """
    waiting: list[Any] = [model]
    while waiting:
        message = waiting.pop()
        if not isinstance(message, onnx.TensorProto):
            for field, value in message.ListFields():
                if field.type == field.TYPE_MESSAGE:
                    waiting.extend([value] if hasattr(value, "ListFields") else value)
        elif message.data_location == onnx.TensorProto.EXTERNAL:
            yield message


def _place(tensor: Any) -> dict[str, str]:
    return {each.key: each.value for each in tensor.external_data}


def _size_bytes(tensor: Any) -> int:
    """How many bytes a tensor's shape and type need."""
    if any(size < 0 for size in tensor.dims) or tensor.data_type not in _BITS:
        raise BackboneError(f"the tensor {shown(tensor.name)} cannot be read: export it again")
    bits: int = math.prod(tensor.dims) * _BITS[tensor.data_type]
    return -(-bits // 8)
