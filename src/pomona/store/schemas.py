"""The Arrow schemas of pomona's tables: the only contract between its steps.

Paths are relative to the source and `/`-separated. A file name is bytes, an Arrow string is UTF-8.
`encode_path` writes a backslash as `\\\\` and a byte that is not UTF-8 as `\\xHH`, so that every
name has exactly one spelling in a table, and `decode_path` finds the file again.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
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
# The most probable labels of an image, the first one first.
TOP: Final = pa.list_(
    pa.struct(
        [
            pa.field("label", pa.string(), nullable=False),
            pa.field("probability", pa.float32(), nullable=False),
        ]
    )
)
PREDICTIONS: Final = pa.schema(
    [
        PATH,
        pa.field("label", pa.string(), nullable=False),
        pa.field("probability", pa.float32(), nullable=False),
        pa.field("unsure", pa.bool_(), nullable=False),
        pa.field("distance", pa.float32(), nullable=False),
        pa.field("top", TOP, nullable=False),
        pa.field("sha256", pa.string()),
    ]
)
FEEDBACK: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("time", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("predicted", pa.string(), nullable=False),
        pa.field("probability", pa.float32(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("confirmed", pa.bool_(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("photograph", pa.string()),
    ]
)


@dataclass(frozen=True)
class Reason:
    """Why an image gave no features.

    Parameters
    ----------
    advice : str
        What a person can do about it.
    retryable : bool
        Whether it may pass by itself, so that a retry without "all" tries the image again.
    """

    advice: str
    retryable: bool = False


REASONS: Final = {
    "not_found": Reason(
        "It was gone when it was read: bring it back, then run again with --retry-errors.",
        retryable=True,
    ),
    "changed": Reason(
        "It was changed after it was found: run again, once nothing writes to it any more.",
        retryable=True,
    ),
    "permission_denied": Reason(
        "Let the user who runs pomona read it, then run again with --retry-errors.",
        retryable=True,
    ),
    "archived": Reason(
        "The object store keeps it in an archive (such as Glacier): restore it, then run again "
        "with --retry-errors=all.",
    ),
    "io_error": Reason(
        "The disk failed: check it, then run again with --retry-errors.",
        retryable=True,
    ),
    "unreachable": Reason(
        "The object store did not answer: check the network, then run again with --retry-errors.",
        retryable=True,
    ),
    "timed_out": Reason(
        "Reading it took too long: look at the image and the disk, then run again with "
        "--retry-errors.",
        retryable=True,
    ),
    "out_of_memory": Reason(
        "There was too little memory for it: run again with --retry-errors and fewer --workers.",
        retryable=True,
    ),
    "crashed": Reason("Decoding it ends the process: replace it, or save it anew."),
    "too_large": Reason(
        "More pixels or bytes than pomona takes: shrink the image, or run again with a "
        "larger --max-pixels and --retry-errors=all.",
    ),
    "empty": Reason("The file has no bytes: copy it again from where it came."),
    "not_an_image": Reason("Its bytes are of no known image format: replace or remove it."),
    "zero_size": Reason("It has no pixels: replace or remove it."),
    "truncated": Reason("It ends too early: copy it again from where it came."),
    "corrupt": Reason("It cannot be decoded: copy it again from where it came."),
    "damaged": Reason(
        "Its codec reports lost or wrong pixels: copy it again from where it came, or take what is "
        "left of it with --allow-damaged and --retry-errors=all."
    ),
    "unsupported": Reason("Its pixels are of a kind that pomona cannot read: convert it."),
    "not_finite": Reason("The network gave no finite numbers for it: look at the image."),
}


def features(width: int) -> pa.Schema:
    """Returns the schema of features/.

    Its `sha256` is that of the file the features were made from.

    Parameters
    ----------
    width : int
        The length of `features`, a fixed_size_list<float32>.
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
    """Returns the schema of pca/.

    Parameters
    ----------
    components : int
        The length of `pca`, a fixed_size_list<float32>.
    """
    return pa.schema(
        [*IDENTITY, pa.field("pca", pa.list_(pa.float32(), components), nullable=False)]
    )


def encode_path(name: str) -> str:
    """Spells a file's name for a table.

    Parameters
    ----------
    name : str
        The name as `os.fsdecode` gives it.
    """
    escaped = name.replace("\\", "\\\\")
    if escaped.isascii():
        return escaped
    return re.sub("[\udc80-\udcff]", lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", escaped)


def decode_path(path: str) -> str:
    """Returns the file's name that a table spells so: the inverse of `encode_path`.

    Parameters
    ----------
    path : str
        The spelling.
    """
    if "\\" not in path:
        return path
    return re.sub(
        r"\\(\\|x[0-9a-f]{2})",
        lambda match: "\\" if match[1] == "\\" else os.fsdecode(bytes([int(match[1][1:], 16)])),
        path,
    )
