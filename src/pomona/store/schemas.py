"""The Arrow schemas of pomona's tables: the only contract between its steps.

Paths are relative to the source and `/`-separated. A file name is bytes, an Arrow string is
UTF-8: `encode_path` writes a backslash as `\\\\` and a byte that is no UTF-8 as `\\xHH`, so that
every name has exactly one spelling in a table and `decode_path` finds the file again.
"""

from __future__ import annotations

import os
import re
from typing import Final

import pyarrow as pa

PATH: Final = pa.field("path", pa.string(), nullable=False)
LABEL: Final = pa.field("label", pa.string())
SPLIT: Final = pa.field("split", pa.string())
IDENTITY: Final = (PATH, LABEL, SPLIT)

CATALOG: Final = pa.schema(
    [*IDENTITY, pa.field("size_bytes", pa.int64()), pa.field("fingerprint", pa.string())]
)
PLAN: Final = CATALOG.append(pa.field("part", pa.int32(), nullable=False))
METADATA: Final = pa.schema(
    [
        *IDENTITY,
        pa.field("size_bytes", pa.int64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("format", pa.string()),
        pa.field("fingerprint", pa.string()),
        pa.field("sha256", pa.string()),
    ]
)
ERRORS: Final = pa.schema(
    [
        *IDENTITY,
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("retryable", pa.bool_(), nullable=False),
        pa.field("fingerprint", pa.string()),
    ]
)

# reason → (does `--retry-errors` take it again, what a person can do about it)
REASONS: Final[dict[str, tuple[bool, str]]] = {
    "not_found": (
        True,
        "It was gone when it was read: bring it back, then run again with --retry-errors.",
    ),
    "changed": (
        True,
        "It was changed after it was found: run again, once nothing writes to it any more.",
    ),
    "permission_denied": (
        True,
        "Let the user who runs pomona read it, then run again with --retry-errors.",
    ),
    "io_error": (True, "The disk failed: check it, then run again with --retry-errors."),
    "unreachable": (
        True,
        "The object store did not answer: check the network, then run again with --retry-errors.",
    ),
    "timed_out": (
        True,
        "ModelOverrides it took too long: look at the image and the disk, "
        "then run again with --retry-errors.",
    ),
    "out_of_memory": (
        True,
        "There was too little memory for it: run again with --retry-errors and fewer --workers.",
    ),
    "crashed": (False, "Decoding it ends the process: replace it, or save it anew."),
    "too_large": (
        False,
        "More pixels or bytes than pomona takes: shrink the image, or run again with a larger "
        "--max-pixels and --retry-errors=all.",
    ),
    "empty": (False, "The file has no bytes: copy it again from where it came."),
    "not_an_image": (False, "Its bytes are of no known image format: replace or remove it."),
    "zero_size": (False, "It has no pixels: replace or remove it."),
    "truncated": (False, "It ends too early: copy it again from where it came."),
    "corrupt": (False, "It cannot be decoded: copy it again from where it came."),
    "unsupported": (False, "Its pixels are of a kind that pomona cannot read: convert it."),
    "not_finite": (False, "The network gave no finite numbers for it: look at the image."),
}


def features(width: int) -> pa.Schema:
    """Schema of features/: `features` is fixed_size_list<float32>[width].

    sha256: of the file that they were made of.
    """
    return pa.schema(
        [
            *IDENTITY,
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            pa.field("sha256", pa.string()),
            pa.field("features", pa.list_(pa.float32(), width), nullable=False),
        ]
    )


def pca(components: int) -> pa.Schema:
    """Schema of pca/: `pca` is fixed_size_list<float32>[components]."""
    return pa.schema(
        [*IDENTITY, pa.field("pca", pa.list_(pa.float32(), components), nullable=False)]
    )


def encode_path(name: str) -> str:
    """A name as the file system gives it (`os.fsdecode`) → its spelling in a table."""
    escaped = name.replace("\\", "\\\\")
    if escaped.isascii():
        return escaped
    return re.sub("[\udc80-\udcff]", lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", escaped)


def decode_path(path: str) -> str:
    """Inverse of `encode_path`."""
    if "\\" not in path:
        return path
    return re.sub(
        r"\\(\\|x[0-9a-f]{2})",
        lambda match: "\\" if match[1] == "\\" else os.fsdecode(bytes([int(match[1][1:], 16)])),
        path,
    )
