"""Where images and results are: a Path, or the text of an s3:// address.

Whether a path can be read is found, and reported, where it is read: hence `readable=False`.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pomona.store.folders.registry import place

Source = Annotated[
    Any,
    typer.Argument(
        parser=place,
        metavar="SOURCE",
        help="Images: a folder or s3://BUCKET/PREFIX, a pack (see `pomona pack`), or a zip, tar or "
        "Parquet file, or a folder of such files. The innermost folder of an image is its label; a "
        "folder such as train or test is its split.",
    ),
]
ImagesToPack = Annotated[
    Any,
    typer.Argument(
        parser=place,
        metavar="SOURCE",
        help="Images: a folder or s3://BUCKET/PREFIX, or a pack. The innermost folder of an image "
        "is its label; a folder such as train or test is its split.",
    ),
]
ImagesToUpload = Annotated[
    Any,
    typer.Argument(
        parser=place,
        metavar="SOURCE",
        help="Folder or s3://BUCKET/PREFIX of images, or a pack, whose images are sent one by one.",
    ),
]
Out = Annotated[
    Any,
    typer.Argument(
        parser=place,
        metavar="OUT",
        help="Folder or s3://BUCKET/PREFIX for the store: new, empty, or a store made from "
        "the same SOURCE with the same network options (any other is refused).",
    ),
]
StoreFolder = Annotated[
    Any,
    typer.Argument(
        parser=place, metavar="STORE", help="Folder or s3://BUCKET/PREFIX that pomona has written."
    ),
]
Address = Annotated[
    Any,
    typer.Argument(parser=place, metavar="ADDRESS", help="s3://BUCKET or s3://BUCKET/PREFIX."),
]
