"""Google, which keeps cached contents."""

from collections.abc import AsyncIterator

import pytest

from tests.gateway.providers.google import GoogleProvider, running_google


@pytest.fixture
async def google() -> AsyncIterator[GoogleProvider]:
    async with running_google() as provider:
        yield provider
