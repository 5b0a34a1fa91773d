"""Sessions: a browser shows its token once, and is known by a cookie from then on.

A browser sends no header with a link, and a token in an address would be kept in its history.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping

from pomona.serving.gate import COLLECTION, check_token
from pomona.serving.problems import RefusedError
from pomona.serving.tokens import Tokens, digest

COOKIE = "pomona_session"
MOST = 1_000
LIVES_S = 12 * 3_600


class Sessions:
    """Browsers that have shown a token. They end with the token, and with the server.

    Parameters
    ----------
    tokens : Tokens, optional
        Who may ask. None: anybody.
    """

    def __init__(self, tokens: Tokens | None) -> None:
        self._tokens = tokens
        # The digest of the token and the end, by the digest of what the cookie holds.
        self._begun: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    @property
    def are_needed(self) -> bool:
        """Whether a browser must show a token."""
        return self._tokens is not None

    def check(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> None:
        """Raises RefusedError for a request that has neither a session nor a token."""
        if self._tokens is None:
            return
        token, end = self._begun.get(digest(cookies.get(COOKIE, "")), (b"", 0.0))
        if time.monotonic() < end and self._tokens.knows(token):
            return
        check_token(self._tokens, headers.get("authorization", ""))

    def begin(self, token: str, *, is_secure: bool) -> str:
        """Begins a session, and returns its header Set-Cookie.

        Parameters
        ----------
        token : str
            What the browser has shown.
        is_secure : bool
            Whether the browser speaks HTTPS, so that the cookie must not go over HTTP.

        Raises
        ------
        RefusedError
            If the token may not ask.
        """
        if self._tokens is None:
            raise RefusedError(404, "this server asks for no token")
        if not self._tokens.allow(token.strip()):
            told = {"WWW-Authenticate": "Bearer"}
            raise RefusedError(401, "the server does not know this token", told, is_wrong=True)
        name = secrets.token_urlsafe(32)
        self._begun[digest(name)] = digest(token.strip()), time.monotonic() + LIVES_S
        if len(self._begun) > MOST:
            self._begun.popitem(last=False)
        return _cookie(name, LIVES_S, is_secure)

    def end(self, cookies: Mapping[str, str]) -> str:
        """Ends the session of a request, and returns the header Set-Cookie that removes it."""
        self._begun.pop(digest(cookies.get(COOKIE, "")), None)
        return _cookie("", 0, False)


def _cookie(value: str, seconds: int, is_secure: bool) -> str:
    secure = "; Secure" if is_secure else ""
    return (
        f"{COOKIE}={value}; Path={COLLECTION}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    )
