"""What a browser may do here: nothing is loaded from elsewhere, and no other page can act in a reader's name."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Collection
from urllib.parse import urlsplit

from fastapi import HTTPException, Request, Response
from starlette.responses import PlainTextResponse

HEADERS = {
    # 'unsafe-inline' for styles only: Plotly writes style attributes; no script is ever inline
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
COOKIE = "meterline"
_TOKEN_BYTES = 32


class FormGuard:
    """Tells our own forms from those of a page elsewhere.

    A reader gets a random cookie (SameSite=Strict, not readable by scripts) and, in every form, a token made of it with
    a secret of this process; another site can guess neither.
    """

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(_TOKEN_BYTES)

    def reader(self, request: Request) -> str:
        """The reader's cookie, or a new one."""
        known = request.cookies.get(COOKIE, "")
        return known if 20 <= len(known) <= 100 and known.isascii() else secrets.token_urlsafe(_TOKEN_BYTES)

    def token(self, reader: str) -> str:
        """What a form of this reader must bring back."""
        return hmac.new(self._secret, reader.encode(), hashlib.sha256).hexdigest()

    def remember(self, response: Response, reader: str) -> None:
        """Give the reader the cookie."""
        response.set_cookie(COOKIE, reader, httponly=True, samesite="strict", path="/")

    def own_form(self, request: Request, token: str) -> bool:
        """Whether a form was made by this page for this reader."""
        reader = request.cookies.get(COOKIE, "")
        fits = hmac.compare_digest(self.token(reader).encode(), token.encode())
        return bool(reader) and fits and self._from_here(request)

    def same_origin(self, request: Request) -> None:
        """Refuse a request that a browser sends for a page elsewhere (403)."""
        if not self._from_here(request):
            raise HTTPException(403, "this request comes from another page")

    @staticmethod
    def _from_here(request: Request) -> bool:
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        origin = request.headers.get("origin")
        return origin is None or urlsplit(origin).netloc == request.headers.get("host")


Follow = Callable[[Request], Awaitable[Response]]


def guarded(hosts: Collection[str]) -> Callable[[Request, Follow], Awaitable[Response]]:
    """A middleware: safe headers on every answer, and no answer to a name that is not ours (DNS rebinding)."""

    async def guard(request: Request, follow: Follow) -> Response:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        response: Response
        if host not in hosts:
            response = PlainTextResponse("this head-end does not answer to that name", 421)
        else:
            response = await follow(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if not request.url.path.startswith("/static/"):
            response.headers["Cache-Control"] = "no-store"
        return response

    return guard
