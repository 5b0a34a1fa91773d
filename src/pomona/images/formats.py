"""The image formats that pomona reads: one entry in `FORMATS` for each.

To add a format that Pillow reads, append a `Format` with its name in Pillow, the extensions of its
files and the bytes that they begin with. `scan` then finds such files and `decode` reads them. One
that needs a plugin of Pillow also names a function that registers it.
Name a stripper, too, or `pomona upload` refuses them unless it is to keep their metadata.
Workers are processes of their own: the entry belongs in a module that they import.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

Stripper = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Format:
    r"""An image format.

    Attributes
    ----------
    name : str
        Pillow's name for it; the metadata table has it, too.
    extensions : tuple of str
        Lower-case file extensions, with the dot.
    magic : bytes
        Regular expression (DOTALL) that the first bytes of such a file match.
    aliases : tuple of str
        Names that Pillow gives to variants, which pomona reads as `name`.
    zero_size : bytes or None
        Regular expression (DOTALL) for the start of a file whose width or height is 0, where
        Pillow only says that it cannot read it.
    unsupported : mapping of bytes to str
        The first bytes of variants that Pillow cannot read, and what these are called.
    stripper : str or None
        "module:function" of a function from a file's bytes to the same without metadata, imported
        on first use. It raises `ImageError` (stage "strip"). None: there is no such function.
    setup : str or None
        "module:function" of a function that enables Pillow to read it, called once in a process.
        It returns what is missing and the way out, or None. None: Pillow reads it anywhere.
    """

    name: str
    extensions: tuple[str, ...]
    magic: bytes
    aliases: tuple[str, ...] = ()
    zero_size: bytes | None = None
    unsupported: Mapping[bytes, str] = field(default_factory=dict)
    stripper: str | None = None
    setup: str | None = None

    def has_zero_size(self, data: bytes) -> bool:
        """Whether a file's header gives a width or a height of 0."""
        return self.zero_size is not None and bool(re.match(self.zero_size, data, re.DOTALL))

    def unsupported_variant(self, data: bytes) -> str | None:
        """The name of the variant that Pillow cannot read, if a file is of one."""
        return next(
            (name for start, name in self.unsupported.items() if data.startswith(start)), None
        )

    def lacking(self) -> str | None:
        """What is missing here to read it, and the way out; None where nothing is."""
        return _set_up(self.setup) if self.setup else None

    def load_stripper(self) -> Stripper | None:
        """The function that takes the metadata out of a file, if there is one."""
        if self.stripper is None:
            return None
        stripper: Stripper = pkgutil.resolve_name(self.stripper)
        return stripper


FORMATS = [
    Format(
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        rb"\xff\xd8\xff",
        aliases=("MPO",),  # several JPEGs in one file, as some cameras write them
        stripper="pomona.images.stripping.jpeg:strip_jpeg",
    ),
    Format(
        "PNG",
        (".png",),
        rb"\x89PNG\r\n\x1a\n",
        zero_size=rb"\x89PNG\r\n\x1a\n.{8}(\0{4}|.{4}\0{4})",
        stripper="pomona.images.stripping.png:strip_png",
    ),
    Format(
        "WEBP",
        (".webp",),
        rb"RIFF....WEBP",
        stripper="pomona.images.stripping.webp:strip_webp",
    ),
    Format(
        "BMP",
        (".bmp",),
        rb"BM",
        zero_size=rb"BM.{16}(\0{4}|.{4}\0{4})",
        stripper="pomona.images.stripping.bmp:strip_bmp",
    ),
    Format(
        "GIF",
        (".gif",),
        rb"GIF8[79]a",
        zero_size=rb"GIF8[79]a(\0\0|..\0\0)",
        stripper="pomona.images.stripping.gif:strip_gif",
    ),
    # Before TIFF: what precedes its mark may be the header of one.
    Format(
        "DICOM",
        (".dcm", ".dicom"),
        rb".{128}DICM",
        setup="pomona.images.codecs:set_up_dicom",
    ),
    Format(
        "TIFF",
        (".tif", ".tiff"),
        rb"II[*+]\0|MM\0[*+]",
        unsupported={b"MM\0+": "big-endian BigTIFF"},
        stripper="pomona.images.stripping.tiff:strip_tiff",
    ),
    # A major brand that both may have tells nothing: one of those that follow does.
    Format(
        "AVIF",
        (".avif",),
        rb"\0\0..ftyp(avi[fs]|(mif1|msf1).{4}(.{4}){0,12}?avi[fs])",
        setup="pomona.images.codecs:set_up_avif",
    ),
    Format(
        "HEIF",
        (".heic", ".heif", ".hif"),
        rb"\0\0..ftyp(hei[cxms]|hev[cxms]|mif1|msf1)",
        setup="pomona.images.codecs:set_up_heif",
    ),
]


@cache
def _set_up(function: str) -> str | None:
    lacking: str | None = pkgutil.resolve_name(function)()
    return lacking


def identify(data: bytes) -> Format | None:
    """The format of a file, by its first bytes.

    Parameters
    ----------
    data : bytes
        The file, or its beginning.

    Returns
    -------
    Format or None
        The first entry of `FORMATS` that matches; None for a file of no such format.
    """
    return next((entry for entry in FORMATS if re.match(entry.magic, data, re.DOTALL)), None)


def pillow_names(found: Format | None) -> list[str]:
    """Pillow's names of the formats that it may try, in its order.

    Parameters
    ----------
    found : Format or None
        The one that a file has by its first bytes. Others that need to be set up are left out.
    """
    return [entry.name for entry in FORMATS if entry is found or entry.setup is None]


def own_name(pillow_name: str | None) -> str:
    """pomona's name for a format that Pillow found; "?" where Pillow has none."""
    for entry in FORMATS:
        if pillow_name in entry.aliases:
            return entry.name
    return pillow_name or "?"


def extensions() -> frozenset[str]:
    """The extensions of image files, lower-case, with the dot."""
    return frozenset(suffix for entry in FORMATS for suffix in entry.extensions)
