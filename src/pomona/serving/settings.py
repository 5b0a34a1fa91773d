"""How a server answers, and what it refuses."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pomona.errors import UsageError


@dataclass(frozen=True)
class ServeSettings:
    """How a server answers, and what it refuses.

    Parameters
    ----------
    host : str
        The address that it listens on.
    port : int
        The port; 0 for any that is free.
    token_file : Path, optional
        A file of tokens, one a line; a request must bear one of them.
    no_auth : bool
        Whether anybody may ask who can reach it, though that is not this machine alone.
    cors : tuple of str
        The origins whose pages may ask.
    watch : bool
        Whether it looks for a new classifier by itself.
    keep_photographs : Path, optional
        A folder for the photographs that it labels, without their metadata. None: none is kept.
    top, unsure
        As `Predictor` takes them.
    max_bytes : int
        The most bytes of a request.
    max_images : int
        The most images of a request.
    max_pixels : int
        The most pixels of an image.
    image_timeout : float
        How long an image may take to be decoded, in seconds.
    request_timeout : float
        How long a request may take, from its first byte to the last one of its answer, in seconds.
    max_waiting : int
        The most images that wait for a worker.
    max_connections : int
        The most connections at a time.

    Raises
    ------
    UsageError
        For a value that cannot be, and for an open address without a word about who may ask.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    no_auth: bool = False
    cors: tuple[str, ...] = ()
    watch: bool = False
    keep_photographs: Path | None = None
    top: int = 5
    unsure: float = 0.9
    max_bytes: int = 20_000_000
    max_images: int = 32
    max_pixels: int = 50_000_000
    image_timeout: float = 10.0
    request_timeout: float = 30.0
    max_waiting: int = 64
    max_connections: int = 256

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise UsageError(f"`port` {self.port}: give a number from 0 to 65535")
        for name in ("max_bytes", "max_images", "max_pixels", "max_waiting", "max_connections"):
            if getattr(self, name) < 1:
                raise UsageError(f"`{name}` {getattr(self, name)}: at least 1 is needed")
        if self.max_waiting < self.max_images:
            raise UsageError(
                f"`max_waiting` {self.max_waiting}: a request of `max_images` {self.max_images} "
                "would never find room"
            )
        for name in ("image_timeout", "request_timeout"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"`{name}` {getattr(self, name):g}: give seconds above 0")
        if self.token_file is not None and self.no_auth:
            raise UsageError("`token_file` and `no_auth` contradict each other: leave one out")
        if not self.is_loopback and self.token_file is None and not self.no_auth:
            raise UsageError(
                f"`host` {self.host} is open to other machines: give a `token_file`, "
                "or `no_auth` to let anybody ask"
            )
        for origin in self.cors:
            _check_origin(origin)

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def _check_origin(origin: str) -> None:
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}":
        raise UsageError(
            f"`cors` {origin}: give an origin without a path, such as https://app.example.org"
        )
