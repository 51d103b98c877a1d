"""The shop of examples/orders: a gateway, backends in Node and Flask, and the stock client."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import stat
import sys
from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.browser import Browser, Page, browser
from tests.clients.install import PACKAGES
from tests.clients.install import install as install_clients
from tests.examples.orders_shop import EXAMPLE, Shop
from tests.js_client import JsClient, JsDriver

PHONE = 390, 780
ALL = ("gateway", "api", "orders", "support")
UNAVAILABLE = {"code": "unavailable", "message": "not available now, try again later"}


async def customer(js: JsDriver, shop: Shop, name: str) -> JsClient:
    return await js.connect(shop.url, namespace="/shop", auth={"token": f"{name}-secret"})


async def sockgw(shop: Shop, *arguments: str) -> str:
    """What the command prints, run in the shop's folder."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        cwd=shop.folder,
        env=shop.environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_one_command_runs_it(shop: Shop, js: JsDriver) -> None:
    async with shop.running(*ALL):
        async with aiohttp.ClientSession() as http, http.get(shop.url) as page:
            assert "Tea and cake" in await page.text()
        ann, ann_too, bob = [await customer(js, shop, each) for each in ("ann", "ann", "bob")]
        order = {"number": 1, "item": "tea", "price": 4}
        assert await ann.call("order.create", "tea") == [{**order, "state": "new"}]
        for each in (ann, ann_too, bob):
            assert await each.receive("sold") == ["tea"]
        for each in (ann, ann_too):
            assert await each.receive("order.changed") == [{**order, "state": "paid"}]
        question = {"number": 1, "text": "Which tea?"}
        assert await bob.call("support.ask", " Which tea? ") == [question]
        [answer] = await bob.receive("support.answered")
        assert answer.items() > question.items()
        assert [each.event for each in bob.log if "order" in each.event] == []
        assert [each.event for each in ann.log if "support" in each.event] == []
        # None of those who were there has given an ack, so the answer has not been seen.
        await shop.reads("bob is not there any more: write a letter")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", shop.ports["orders"])


async def test_what_is_refused_has_a_code(shop: Shop, js: JsDriver) -> None:
    async with shop.running(*ALL):
        stranger = await js.client(shop.url, namespace="/shop", auth={"token": "constructor"})
        [error] = await stranger.receive("connect_error")
        assert (error["message"], error["data"]) == (
            "try ann-secret or bob-secret",
            {"code": "unauthorized"},
        )
        ann = await customer(js, shop, "ann")
        for wrong in ("coffee", "constructor", 7, None, {"a": 1}):
            [answer] = await ann.call("order.create", wrong)
            assert answer["error"] == {"code": "not_found", "message": "we have tea and cake"}
        for wrong in ([], [" "], [7], ["a", "b"]):
            [answer] = await ann.call("support.ask", *wrong)
            assert answer["error"] == {"code": "bad_request", "message": "ask something"}
        for port in (shop.ports["orders"], shop.ports["support"]):
            async with aiohttp.ClientSession() as http:
                for path in ("/", "/connect", "/support.ask"):
                    async with http.post(f"http://127.0.0.1:{port}{path}", data=b"{}") as answer:
                        assert answer.status == 401


async def test_a_backend_that_is_stopped_and_comes_back(shop: Shop, js: JsDriver) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(shop.running("gateway", "api", name="gateway"))
        await stack.enter_async_context(shop.running("orders", name="orders"))
        async with shop.running("support", name="support"):
            ann = await customer(js, shop, "ann")
            assert (await ann.call("support.ask", "Hello?"))[0]["number"] == 1
            await ann.receive("support.answered")
        assert await ann.call("support.ask", "Hello?") == [{"error": UNAVAILABLE}]
        assert (await ann.call("order.create", "cake"))[0]["item"] == "cake"  # all else goes on
        told = json.loads(await sockgw(shop, "backends", "--format", "json"))["backends"]
        assert told["support"]["outcomes"]["unreachable"] == 1
        async with shop.running("support", name="support"):
            assert (await ann.call("support.ask", "Hello?"))[0]["text"] == "Hello?"
            assert "ok, status 204" in await sockgw(shop, "backends", "probe", "support")
            assert "ok, status 204" in await sockgw(shop, "backends", "probe", "orders")
            await ann.receive("support.answered")
    assert [each.event for each in ann.log if each.event == "connect"] == ["connect"]


async def test_the_commands_of_its_readme(shop: Shop, js: JsDriver) -> None:
    text = (EXAMPLE / "README.md").read_text()
    commands = re.findall(r"^    (sockgw .*)$", text, re.MULTILINE)
    assert any("push disconnect" in each for each in commands)
    async with shop.running(*ALL):
        ann = await js.connect(
            shop.url, namespace="/shop", auth={"token": "ann-secret"}, acks={"with": ["visible"]}
        )
        for command in commands:
            _, *arguments = shlex.split(command, comments=True)
            output = await sockgw(shop, *arguments)
            if arguments[:2] == ["push", "call"]:
                assert "visible" in output
        await ann.receive("disconnect")


async def submit(page: Page, form: str, text: str) -> None:
    """Submit a form with one field."""
    found = f"document.querySelector('{form}')"
    await page.evaluate(
        f"({found}.elements[0].value = {json.dumps(text)}, {found}.requestSubmit())"
    )


async def entered(chrome: Browser, shop: Shop, name: str) -> Page:
    """The page as a customer has it."""
    page = await chrome.page(shop.url)
    await submit(page, "#enter", f"{name}-secret")
    await page.reads("#state", "connected")
    return page


async def test_its_page(shop: Shop) -> None:
    await asyncio.to_thread(install_clients)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(shop.running("gateway", "api", name="gateway"))
        await stack.enter_async_context(shop.running("orders", name="orders"))
        async with browser() as chrome:
            stranger = await chrome.page(shop.url)
            await submit(stranger, "#enter", "wrong")
            await stranger.reads("#state", "unauthorized: try ann-secret or bob-secret")
            ann, bob = await entered(chrome, shop, "ann"), await entered(chrome, shop, "bob")
            await ann.evaluate("document.querySelector('[data-item=tea]').click()")
            await ann.reads("#orders", "tea, 4 €")
            await bob.reads("#sold", "Somebody has just ordered tea.")
            await ann.reads("#orders", "paid")
            await submit(ann, "#ask", "<b>Which tea?</b>")
            await ann.reads("#error", "unavailable: not available now, try again later")
            async with shop.running("support", name="support"):
                await ann.evaluate(
                    "document.querySelector('#ask button').click()"
                )  # the question is still there
                await ann.reads("#questions", "Have you tried the cake?")
                assert "<b>Which tea?</b>" in await ann.text("#questions")
                assert await ann.evaluate("document.querySelector('#error').hidden")
            assert "letter" not in "".join(shop.output["support"])  # it was seen
            await ann.call("Page.reload")
            await ann.reads("#state", "connected")
            await ann.resize(*PHONE, is_phone=True)
            assert not await ann.overflows()
            # The stock client may poll once more after it has left the session.
            late = "status of 400", "transport=polling"
            chrome.complaints[:] = [
                each for each in chrome.complaints if not all(part in each for part in late)
            ]


def test_the_client_is_the_one_that_is_tested() -> None:
    install_clients()
    stock = PACKAGES / "client4.8/dist/socket.io.min.js"
    assert (EXAMPLE / "web/socket.io.min.js").read_text() == stock.read_text()


def test_its_secrets_are_its_own(shop: Shop) -> None:
    assert stat.S_IMODE((shop.folder / "secrets.env").stat().st_mode) == 0o600
    assert len(set(shop.environ.values())) == 4
    ignored = (EXAMPLE / ".gitignore").read_text().split()
    assert {"secrets.env", ".venv", "node_modules", "admin.sock"} <= set(ignored)
