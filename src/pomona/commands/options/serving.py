"""Where a server listens, who may ask it, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from pomona.commands.options.images import parse_pixels
from pomona.serving.settings import ServeSettings

Watch = Annotated[
    bool,
    typer.Option(
        "--watch",
        help="Load a new classifier as soon as the store has one. (default: only on SIGHUP)",
    ),
]
KeepPhotographs = Annotated[
    Path | None,
    typer.Option(
        readable=False,
        metavar="DIR",
        help="Save in DIR the images that the server labels, without their metadata. "
        "(default: save none)",
    ),
]


@dataclass(frozen=True)
class DoorOptions:
    """Where a server listens, and who may ask it."""

    panel: ClassVar[str] = "Access"
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on; 0.0.0.0 for all. One that other machines can reach "
            "requires --token-file or --no-auth.",
        ),
    ] = ServeSettings.host
    port: Annotated[
        int, typer.Option(metavar="N", help="Port to listen on; 0 for any that is free.")
    ] = ServeSettings.port
    token_file: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            metavar="FILE",
            help="Answer only requests that bear a token from FILE, which has one per line. It is "
            "read again when it changes.",
        ),
    ] = ServeSettings.token_file
    no_auth: Annotated[
        bool,
        typer.Option(
            "--no-auth", help="Answer requests without a token, even from other machines."
        ),
    ] = ServeSettings.no_auth
    cors: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Allow web pages from ORIGIN to call the API (CORS), such as "
            "https://app.example.org; may be repeated.",
        ),
    ] = None


@dataclass(frozen=True)
class BoundOptions:
    """What a server refuses, so that it stays alive."""

    panel: ClassVar[str] = "Limits"
    max_bytes: Annotated[
        int, typer.Option(metavar="N", help="Maximum size of a request, in bytes.")
    ] = ServeSettings.max_bytes
    max_images: Annotated[
        int, typer.Option(metavar="N", help="Maximum number of images per request.")
    ] = ServeSettings.max_images
    max_pixels: Annotated[
        int,
        typer.Option(
            parser=parse_pixels,
            metavar="N",
            show_default=False,
            help="Maximum number of pixels per image; write 12000000 or 12MP. "
            f"(default: {ServeSettings.max_pixels // 10**6}MP)",
        ),
    ] = ServeSettings.max_pixels
    image_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long an image may take to be decoded.")
    ] = ServeSettings.image_timeout
    request_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long a request may take in all.")
    ] = ServeSettings.request_timeout
    max_waiting: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Maximum number of images that wait for a worker; further requests get status "
            "503.",
        ),
    ] = ServeSettings.max_waiting
    max_connections: Annotated[
        int, typer.Option(metavar="N", help="Maximum number of simultaneous connections.")
    ] = ServeSettings.max_connections


def to_settings(door: DoorOptions, bounds: BoundOptions, **more: Any) -> ServeSettings:
    """Returns the settings of a server. Raises UsageError for values that cannot be.

    Parameters
    ----------
    door, bounds
        The groups of options.
    more
        Further settings.
    """
    who = {**vars(door), "cors": tuple(door.cors or ())}
    return ServeSettings(**who, **vars(bounds), **more)
