"""The responses dialect, and the SDK's model of its events, for the tests beside this."""

import json
from typing import Any, get_args

from openai.types.responses import ResponseStreamEvent

from llmcache_gateway.dialects.base import Request
from llmcache_gateway.dialects.openai_responses import OpenAIResponses

DIALECT = OpenAIResponses()
ASK: dict[str, Any] = {"model": "gpt-6", "input": "What is a cache?", "store": False}
EVENTS = {get_args(one.model_fields["type"].annotation)[0]: one for one in get_args(get_args(ResponseStreamEvent)[0])}
"""The SDK's model of each type of event."""


def parse(members: dict[str, Any]) -> Request:
    return DIALECT.parse(members, json.dumps(members).encode())


def events_of(blocks: list[bytes]) -> list[dict[str, Any]]:
    events = []
    for one in blocks:
        name, data = one.split(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        events.append(event)
    return events
