"""Tokens: who may ask."""

from __future__ import annotations

import hashlib
import hmac
import threading
from pathlib import Path

from pomona.errors import PomonaError, UsageError

MOST_BYTES = 2**20
FEWEST_CHARACTERS = 16


class Tokens:
    """The tokens of a file, read again whenever the file changes.

    Parameters
    ----------
    file : Path
        The file: a token a line; empty lines, and those that begin with #, are none.

    Raises
    ------
    PomonaError
        If it cannot be read, or has no token or one that is easily guessed.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] | None = None
        self._digests: list[bytes] = []
        self._refresh()

    def allow(self, token: str) -> bool:
        """Whether a token is one of the file's, in a time that tells nothing of them.

        A file that is gone, or has become useless, allows none.
        """
        return self.knows(digest(token))

    def knows(self, asked: bytes) -> bool:
        """As `allow`, by the digest of a token."""
        try:
            self._refresh()
        except PomonaError:
            return False
        # All are compared, so that the time does not tell which one is alike.
        return sum(hmac.compare_digest(asked, each) for each in self._digests) > 0

    def _refresh(self) -> None:
        with self._lock:
            try:
                status = self._file.stat()
                stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
                if stamp == self._stamp:
                    return
                self._stamp, self._digests = None, []
                with self._file.open(encoding="utf-8") as file:
                    text = file.read(MOST_BYTES)
            except OSError as exc:
                self._stamp, self._digests = None, []
                raise PomonaError(
                    f"`token_file` {self._file} cannot be read: {exc.strerror}"
                ) from exc
            except UnicodeDecodeError as exc:
                raise PomonaError(f"`token_file` {self._file} is not text in UTF-8") from exc
            self._digests = _parse(self._file, text)
            self._stamp = stamp


def _parse(file: Path, text: str) -> list[bytes]:
    lines = (line.strip() for line in text.splitlines())
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        raise UsageError(f"`token_file` {file} has no token: write one in it, each on its own line")
    if any(len(token) < FEWEST_CHARACTERS for token in tokens):
        raise UsageError(
            f"`token_file` {file}: a token of fewer than {FEWEST_CHARACTERS} characters is easily "
            "guessed; `openssl rand -hex 32` makes a good one"
        )
    return [digest(token) for token in tokens]


def digest(token: str) -> bytes:
    """Returns the digest of a token, which does not tell what it is."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
