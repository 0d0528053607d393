"""What others wrote is shown by the commands, and neither obeyed by a terminal nor taken for lines of their own."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.plaintext import MOST, brief, visible
from tests.gateway.conftest import TestGateway
from tests.gateway.provider import Provider
from tests.gateway.test_command_line import finish, start
from tests.gateway.test_evaluate import PAIRS, with_upstream
from tests.gateway.test_warm import line, requests_file

ORDERS = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egone\r\nspec.prefix: in order"
"""A title, a screen that is wiped, a colour, a turn of direction, and a line that looks like one of ours."""

SHOWN = "\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202egone spec.prefix: in order"


async def test_what_an_upstream_says_to_an_evaluation_is_shown_and_not_obeyed(
    tmp_path: Path, provider: Provider
) -> None:
    statuses = iter((429, 404))

    async def behave(request: web.Request) -> web.Response:
        return web.Response(status=next(statuses), headers={"Retry-After": "1"}, text=ORDERS + "x" * 10_000)

    provider.behave = behave
    arguments = with_upstream(tmp_path, provider, PAIRS, env="VECTORS_KEY")

    status, out, err = await finish(await start(*arguments, VECTORS_KEY="sk-vectors"))

    assert (status, out) == (2, "")
    later, refused = err.split("\n")[:-1]
    assert later.startswith(f"upstream 'vectors' answered 429; asking again in 1 s: {SHOWN}xxx")
    assert refused.startswith(f"spec.semantic.embedding: upstream 'vectors' answered 404 for vectors: {SHOWN}xxx")
    assert all(text.isprintable() and len(text) < MOST + 100 for text in (later, refused))


@asynccontextmanager
async def answering(answer: str) -> AsyncIterator[str]:
    """Run a server that gives every request these bytes; yield its address."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        await reader.readexactly(int(length[1]) if length else 0)  # what is left unread would reset the connection
        writer.write(answer.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_what_an_address_with_no_gateway_says_to_warm_is_shown_and_not_obeyed(
    gateway: TestGateway,
) -> None:
    async with answering(f"HTTP/1.1 500 Oh\r\nConnection: close\r\n\r\n{ORDERS}") as url:
        status, out, err = await finish(await start("warm", "--url", gateway.url, "--from-hot", url))

    assert (status, out, err) == (2, "", f"{url}/admin/v1/hot: status 500: {SHOWN}\n")


async def test_tenants_that_an_address_names_to_warm_are_shown_and_not_obeyed(gateway: TestGateway) -> None:
    asked = {"path": "/v1/chat/completions", "body": {}, "count": 1}
    listed = json.dumps({"requests": [asked | {"tenant": tenant} for tenant in ("one", "\x1b[2J")]})
    async with answering(f"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{listed}") as url:
        status, _, err = await finish(await start("warm", "--url", gateway.url, "--from-hot", url))

    assert status == 2
    assert "choose one with --tenant, of \\x1b[2J, one; " in err


async def test_reasons_in_headers_are_shown_by_warm_and_not_obeyed(tmp_path: Path) -> None:
    headers = f'X-LLMCache: MISS\r\nCache-Status: llmcache; fwd=miss; detail="\x1b[2J{"x" * 10_000}"'
    file = requests_file(tmp_path, line())
    async with answering(f"HTTP/1.1 200 OK\r\n{headers}\r\nConnection: close\r\n\r\n") as url:
        status, out, _ = await finish(await start("warm", "--url", url, "--requests", str(file)))

    assert status == 1
    assert "  1 × not stored: \\x1b[2Jxxx" in out
    assert all(text.isprintable() and len(text) < MOST + 100 for text in out.split("\n"))


async def test_what_a_manifest_says_is_shown_by_check_and_not_obeyed(tmp_path: Path) -> None:
    """It may be somebody else's, who wants it merged."""
    file = tmp_path / "llmcache.yaml"
    file.write_text(
        "apiVersion: llmcache.dev/v1alpha1\nkind: LLMCache\nmetadata: {name: x, namespace: y}\n"
        'spec: {"\\e[2J": 1, upstreams: [{name: main, provider: echo}], prefix: {version: v1}}\n'
    )

    status, _, err = await finish(await start("check", "--config", str(file)))

    assert status == 2
    assert err.startswith("spec.\\x1b[2J: unknown field; ")
    assert err.count("\n") == 1


@given(st.text())
def test_visible_characters_stay_and_all_others_are_escaped(text: str) -> None:
    assert visible(text).isprintable()
    assert (visible(text) == text) == text.isprintable()


@given(st.text() | st.binary(max_size=5 * MOST))
def test_what_is_said_in_brief_is_one_short_line(said: str | bytes) -> None:
    assert brief(said).isprintable()
    assert len(brief(said)) <= MOST


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("", ""),
        (b"  two\n\twords ", "two words"),
        ("x" * MOST, "x" * MOST),
        ("x" * (MOST + 1), "x" * (MOST - 1) + "…"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ("déjà vu 👍", "déjà vu 👍"),
    ],
)
def test_the_beginning_is_shown_as_it_is(said: str | bytes, line: str) -> None:
    assert brief(said) == line
