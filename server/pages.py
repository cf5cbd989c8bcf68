"""The pages that the server brings along: the chat, and GraphiQL in development."""

import gzip
import re
from collections.abc import Mapping
from functools import lru_cache
from html import escape
from pathlib import Path
from secrets import token_urlsafe

from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_WEB = Path(__file__).resolve().parent.parent / "web"
#: Manifest of what the chat page and the widget ask, each with its id beside the text.
PAGE_DOCUMENTS = _WEB / "dist" / "documents.json"

# The page adopts constructed style sheets and makes every node itself, so that it needs no more than this.
_CHAT_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "require-trusted-types-for 'script'; trusted-types 'none'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
# Monaco makes style elements and sets style attributes within HTML; a nonce is for elements only.
_GRAPHIQL_POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; "
    "style-src 'self' 'nonce-{nonce}'; style-src-attr 'unsafe-inline'; font-src 'self'; img-src 'self' data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
# A worker has the policy that its script came with.
_ASSET_POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; frame-ancestors 'none'"
_ASSET_HEADERS = {**_HEADERS, "Cache-Control": "no-cache", "Content-Security-Policy": _ASSET_POLICY}
_IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}
# Any page may load the widget; what it asks the server is another matter.
_WIDGET_HEADERS = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}
# The operating system's own table may know a wrong type for these, which `nosniff` would make fatal.
_MEDIA_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_ACCEPTS_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))", re.IGNORECASE)


def page_routes(token: str | None) -> list[BaseRoute]:
    """The chat page at `/`, its assets, the icon and the widget; in development GraphiQL's assets too.

    `token` is a bearer token that the chat page uses by itself; None where this is not development. Without one the
    page asks the user.
    """
    widgets = _Assets(_WEB / "dist" / "widget", _WIDGET_HEADERS)

    async def chat(_: Request) -> Response:
        return _page(_WEB / "page" / "index.html", _CHAT_POLICY, {"token": token or ""})

    async def widget(request: Request) -> Response:
        return await widgets.get_response("widget.js", request.scope)

    routes: list[BaseRoute] = [
        Route("/", chat),
        Route("/favicon.ico", _favicon),
        Route("/widget.js", widget),
        Mount("/page", _Assets(_WEB / "dist" / "page")),
    ]
    if token is not None:
        routes.append(Mount("/graphiql", _Assets(_WEB / "dist" / "graphiql")))
    return routes


def graphiql_page(token: str | None) -> Response:
    """GraphiQL, for the path of the GraphQL endpoint; `token` goes into its Headers editor."""
    nonce = token_urlsafe(16)
    policy = _GRAPHIQL_POLICY.format(nonce=nonce)
    return _page(_WEB / "graphiql" / "index.html", policy, {"token": token or "", "nonce": nonce})


def _page(path: Path, policy: str, values: dict[str, str]) -> Response:
    """The HTML file with these values in its `<meta>` tags; never stored, for it may hold a token."""
    html = path.read_text(encoding="utf-8")
    for name, value in values.items():
        tag = f'<meta name="loquent-{name}" content="'
        html = html.replace(f'{tag}"', f'{tag}{escape(value)}"')
    headers = {**_HEADERS, "Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return HTMLResponse(html, headers=headers)


async def _favicon(_: Request) -> Response:
    return FileResponse(_WEB / "page" / "icon.svg", headers=_HEADERS, media_type=_MEDIA_TYPES[".svg"])


class _Assets(StaticFiles):
    """What was built: a browser may keep it, but asks about it every time (ETag), unless its name has a hash of it."""

    def __init__(self, directory: Path, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(directory=directory, check_dir=False)
        self._headers = {**_ASSET_HEADERS, **(headers or {})}

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(self._headers)
        if Path(path).parent.name == "hashed":
            response.headers.update(_IMMUTABLE)
        media_type = _MEDIA_TYPES.get(Path(path).suffix)
        if media_type is None:
            return response
        response.headers["Vary"] = "Accept-Encoding"
        if not isinstance(response, FileResponse):
            return response
        response.headers["Content-Type"] = media_type
        if not _ACCEPTS_GZIP.search(Headers(scope=scope).get("accept-encoding", "")):
            return response
        return await _compressed(response)


async def _compressed(response: FileResponse) -> Response:
    """The same file as gzip."""
    path = Path(response.path)
    stat = await run_sync(path.stat)
    content = await run_sync(_compress, path, stat.st_mtime_ns, stat.st_size)
    headers = {
        name: value for name, value in response.headers.items() if name not in ("content-length", "accept-ranges")
    }
    # Weak, since it stands for the file in either form.
    headers |= {"content-encoding": "gzip", "etag": f"W/{response.headers['etag']}"}
    return Response(content, headers=headers)


@lru_cache(maxsize=64)
def _compress(path: Path, _mtime_ns: int, _size: int) -> bytes:
    """A file that is built once is compressed once; one that is built anew, anew."""
    return gzip.compress(path.read_bytes(), compresslevel=9, mtime=0)
