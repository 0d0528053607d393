"""What clients call their entries by."""

from tests.gateway.conftest import TestGateway
from tests.gateway.examples import question
from tests.gateway.provider import Provider


async def test_tags_stand_in_the_entry_and_neither_in_the_key_nor_upstream(
    gateway: TestGateway, provider: Provider
) -> None:
    first = await gateway.post(question(), headers={"X-LLMCache-Tags": "faq, doc:17"})
    second = await gateway.post(question())
    assert (first.headers["X-LLMCache"], second.headers["X-LLMCache"]) == ("MISS", "HIT")
    assert "X-LLMCache-Tags" not in provider.calls[0]["headers"]
    found = await gateway.running.reloader.current.store.get(first.headers["X-LLMCache-Key"])
    assert found is not None
    assert found.entry.tags == ["faq", "doc:17"]


async def test_a_bad_tag_is_refused(gateway: TestGateway) -> None:
    response = await gateway.post(question(), headers={"X-LLMCache-Tags": "a b"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "X-LLMCache-Tags")
