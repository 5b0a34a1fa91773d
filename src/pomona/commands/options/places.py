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
        help="Folder or s3://BUCKET/PREFIX of images, whose subfolders are the labels, or of a "
        "pack.",
    ),
]
Out = Annotated[
    Any,
    typer.Argument(
        parser=place,
        metavar="OUT",
        help="Folder or s3://BUCKET/PREFIX for the results: new, empty, or an existing store.",
    ),
]
StoreFolder = Annotated[
    Any,
    typer.Argument(
        parser=place, metavar="STORE", help="Folder or s3://BUCKET/PREFIX of an existing store."
    ),
]
Address = Annotated[
    Any,
    typer.Argument(parser=place, metavar="ADDRESS", help="s3://BUCKET or s3://BUCKET/PREFIX."),
]
