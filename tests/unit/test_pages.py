"""The pages that the server brings along, as a browser asks for them."""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette

from server import pages

SCRIPT = "export const answer = 42;\n" * 100
BROWSER = {"Accept-Encoding": "br;q=0.5, gzip, deflate"}


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as a build leaves it, but without the widget."""
    for name, text in {
        "page/index.html": '<meta name="loquent-token" content="">',
        "page/icon.svg": "<svg/>",
        "dist/page/page.js": SCRIPT,
        "dist/page/hashed/highlight-abc.js": SCRIPT,
        "dist/graphiql/graphiql.js": SCRIPT,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(pages, "_WEB", tmp_path)
    return tmp_path


def connect(token: str | None = None) -> httpx2.AsyncClient:
    app = Starlette(routes=pages.page_routes(token))
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://loquent")


@pytest.fixture
async def browser(web: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with connect() as client:
        yield client


async def test_the_page_may_run_its_own_scripts_and_nothing_else(browser: httpx2.AsyncClient) -> None:
    page = await browser.get("/")
    assert page.headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "require-trusted-types-for 'script'; trusted-types 'none'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert page.headers["cache-control"] == "no-store"


async def test_the_page_has_a_token_in_development_only(web: Path, browser: httpx2.AsyncClient) -> None:
    assert 'content=""' in (await browser.get("/")).text
    async with connect('a"b') as client:
        assert 'content="a&quot;b"' in (await client.get("/")).text


async def test_graphiql_is_there_in_development_only(web: Path, browser: httpx2.AsyncClient) -> None:
    assert (await browser.get("/graphiql/graphiql.js")).status_code == 404
    async with connect("token") as client:
        assert (await client.get("/graphiql/graphiql.js")).status_code == 200


async def test_a_script_is_compressed_for_who_accepts_it(browser: httpx2.AsyncClient) -> None:
    async with browser.stream("GET", "/page/page.js", headers=BROWSER) as answer:
        content = b"".join([piece async for piece in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) == len(content) < len(SCRIPT) / 10
    assert gzip.decompress(content).decode() == SCRIPT


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0", "br, gzip; q=0.0, deflate"])
async def test_a_script_is_plain_for_who_does_not(browser: httpx2.AsyncClient, accepted: str) -> None:
    answer = await browser.get("/page/page.js", headers={"Accept-Encoding": accepted})
    assert "content-encoding" not in answer.headers
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.text == SCRIPT


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_a_script_that_has_not_changed_is_not_sent_again(browser: httpx2.AsyncClient, encoding: str) -> None:
    headers = {"Accept-Encoding": encoding}
    first = await browser.get("/page/page.js", headers=headers)
    assert first.headers["cache-control"] == "no-cache"
    again = await browser.get("/page/page.js", headers={**headers, "If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_script_that_was_built_anew_is_sent_anew(web: Path, browser: httpx2.AsyncClient) -> None:
    first = await browser.get("/page/page.js", headers=BROWSER)
    (web / "dist/page/page.js").write_text("changed")
    again = await browser.get("/page/page.js", headers={**BROWSER, "If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.text) == (200, "changed")


async def test_a_script_whose_name_has_a_hash_is_kept_for_good(browser: httpx2.AsyncClient) -> None:
    answer = await browser.get("/page/hashed/highlight-abc.js", headers=BROWSER)
    assert "immutable" in answer.headers["cache-control"]


async def test_any_site_may_load_the_widget_once_it_is_built(web: Path, browser: httpx2.AsyncClient) -> None:
    assert (await browser.get("/widget.js")).status_code == 404
    (web / "dist/widget").mkdir()
    (web / "dist/widget/widget.js").write_text(SCRIPT)
    answer = await browser.get("/widget.js", headers=BROWSER)
    assert answer.text == SCRIPT
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"


async def test_nothing_beside_what_was_built_is_served(browser: httpx2.AsyncClient) -> None:
    for path in ("/page/../../page/index.html", "/page/%2e%2e/%2e%2e/page/icon.svg", "/page/", "/page/none.js"):
        assert (await browser.get(path)).status_code == 404


async def test_the_icon_is_an_image(browser: httpx2.AsyncClient) -> None:
    assert (await browser.get("/favicon.ico")).headers["content-type"] == "image/svg+xml"
