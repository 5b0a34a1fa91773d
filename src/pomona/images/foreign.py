"""Content of other kinds, as it is found under the names of images: said in words."""

from __future__ import annotations

import re

# What a file begins with (a regular expression, DOTALL) → its kind.
_IMAGES = {
    rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51": "JPEG 2000",
    rb"8BPS": "Photoshop",
}
_OTHERS = {
    rb"version https://git-lfs": "a pointer of Git LFS: fetch the files with `git lfs pull`",
    rb"\s*<(!doctype html|html|head|body)": "a page in HTML, perhaps in place of a download",
    rb"\s*(<\?xml.{0,500})?<(!DOCTYPE )?svg": "SVG",
    rb"%PDF-": "PDF",
    rb"%!PS": "PostScript",
    rb"\x1f\x8b": "compressed with gzip: unpack it",
    rb"PK\x03\x04": "a ZIP archive: unpack it",
}


def name_content(data: bytes) -> tuple[str, str]:
    """Names what a file is that is of none of pomona's formats.

    Parameters
    ----------
    data : bytes
        The file, or its beginning.

    Returns
    -------
    reason : {"unsupported", "not_an_image"}
        Whether it is an image at all.
    kind : str
        What it is; empty where that is not known.
    """
    for reason, kinds in (("unsupported", _IMAGES), ("not_an_image", _OTHERS)):
        for start, kind in kinds.items():
            if re.match(start, data, re.DOTALL | re.IGNORECASE):
                return reason, kind
    return "not_an_image", ""
