"""The pages that the server brings along: the chat, and GraphiQL in development."""

import os
from html import escape
from pathlib import Path
from secrets import token_urlsafe

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_WEB = Path(__file__).resolve().parent.parent / "web"

_CHAT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# GraphiQL's dialogs and menus add a <style> element that holds the page still while they are open.
_GRAPHIQL_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_ASSET_HEADERS = {**_HEADERS, "Cache-Control": "no-cache", "Content-Security-Policy": _CHAT_POLICY}
# The operating system's own table may know a wrong type for these, which `nosniff` would make fatal.
_MEDIA_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


def page_routes(token: str | None) -> list[BaseRoute]:
    """The chat page at `/`, its assets and the icon; in development GraphiQL's assets too.

    `token` is a bearer token that the chat page uses by itself; None where this is not development. Without one the
    page asks the user.
    """

    async def chat(_: Request) -> Response:
        return _page(_WEB / "chat" / "index.html", _CHAT_POLICY, {"token": token or ""})

    routes: list[BaseRoute] = [
        Route("/", chat),
        Route("/favicon.ico", _favicon),
        Mount("/chat", _Assets(directory=_WEB / "chat")),
    ]
    if token is not None:
        routes.append(Mount("/graphiql", _Assets(directory=_WEB / "dist" / "graphiql")))
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
    return FileResponse(_WEB / "chat" / "icon.svg", headers=_HEADERS, media_type=_MEDIA_TYPES[".svg"])


class _Assets(StaticFiles):
    """Files that a browser may keep, but asks about every time (ETag)."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_ASSET_HEADERS)
        media_type = _MEDIA_TYPES.get(Path(full_path).suffix)
        if media_type and response.status_code == status_code:
            response.headers["Content-Type"] = media_type
        return response
