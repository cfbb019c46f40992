"""Which requests are answered at all, and the security headers of every response."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kneeal.errors import UserError

#: Followed by the id of the store, so that two runs on one host do not sign each other's readers out.
COOKIE = "kneeal_session_"
#: Answered to anybody under any host name, for a proxy or a monitor; reveals nothing about the run.
HEALTH = "/health"
CSRF_HEADER = "x-kneeal-csrf"
#: No answer is longer than this many bytes.
MAX_BODY = 64 * 1024
_CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "x-robots-tag": "noindex, nofollow",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Origin:
    """The addresses at which the page is reached."""

    origins: frozenset[str]  #: Values of `Origin` that may make changes, for example "http://127.0.0.1:8010".
    hosts: frozenset[str]  #: Values of `Host` that are answered, so that no other name can be pointed at this machine.
    secure: bool  #: Whether browsers reach it through TLS.

    @classmethod
    def of(cls, host: str, port: int, public_url: str | None) -> Self:
        """The addresses of a server on `host` and `port`, or of the proxy before it.

        Raises:
            UserError: The public address is not an address.
        """
        if public_url is None:
            local = {"localhost", "127.0.0.1", "::1"}
            names = local if host in local else {host}
            hosts = frozenset(f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in names)
            return cls(frozenset(f"http://{name}" for name in hosts), hosts, secure=False)
        parts = urlsplit(public_url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment or parts.username:
            raise UserError(
                f"--public-url {public_url}", "an address such as https://reading.hospital.example/knees", "correct it"
            )
        # As browsers write it: in small letters, and without the default port.
        name = parts.netloc.lower().removesuffix(":443" if parts.scheme == "https" else ":80")
        return cls(frozenset({f"{parts.scheme}://{name}"}), frozenset({name}), parts.scheme == "https")


class Guard:
    """ASGI middleware: refuses foreign hosts, foreign origins and long bodies; adds the security headers."""

    def __init__(self, app: ASGIApp, origin: Origin) -> None:
        self.app = app
        self.origin = origin
        self.headers = {**HEADERS, **({"strict-transport-security": "max-age=31536000"} if origin.secure else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        refusal = None if scope["path"] == HEALTH else self._refusal(scope["method"], Headers(scope=scope))
        if refusal is not None:
            await JSONResponse({"error": refusal[1]}, refusal[0])(scope, receive, send_guarded)
            return
        await self.app(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        if headers.get("host", "").lower() not in self.origin.hosts:
            return 421, "this server is not known under that name; give the address of a proxy with --public-url"
        if method not in _CHANGING:
            return None
        # Every browser names the origin of a changing request; what names none was not sent by this page.
        own = headers.get("origin", "").lower() in self.origin.origins
        if not own or headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return 403, "a request from another site"
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return 415, "a body that is not application/json"
        length = headers.get("content-length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            return 413, f"a body without a length, or longer than {MAX_BODY} bytes"
        return None
