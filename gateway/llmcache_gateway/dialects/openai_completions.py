"""OpenAI completions, the older API that takes a prompt instead of messages: `POST /v1/completions`.

Format: OpenAI's API reference as its SDK's types have it (openai 3.54). Streamed or not, an answer is a
`text_completion`; a stream carries its texts and log-probabilities in pieces and ends with `data: [DONE]`. How a
stream is asked for, its usage chunk and its errors are those of chat completions.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from llmcache_gateway.dialects.azure_filters import graver
from llmcache_gateway.dialects.base import Request
from llmcache_gateway.dialects.openai_chat import TRUNCATED, OpenAIChat
from llmcache_gateway.dialects.openai_chat_stream import DONE, read
from llmcache_gateway.dialects.openai_shaped import Traits, looks_elsewhere
from llmcache_gateway.dialects.reading import first_not
from llmcache_gateway.plainjson import dumps
from llmcache_gateway.sse import data_event


class OpenAICompletions(OpenAIChat):
    """The dialect of completions: the requests and streams of chat, other answers in them."""

    name = "openai-completions"
    below = "/completions"
    speakers = frozenset({"openai", "azure", "deepseek", "openrouter", "xai", "fireworks"})

    def counted(self, request: Request) -> dict[str, Any]:
        counted = {name: value for name, value in request.members.items() if name not in self.ignored}
        prompt = counted.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
            counted["prompt"] = prompt[0]  # a list of one prompt is the same as the prompt
        return counted

    def bypass(self, request: Request, admitted: frozenset[str] = frozenset()) -> str | None:
        return first_not(admitted, looks_elsewhere(request.model, request.members))

    @staticmethod
    def flaw(choice: Any) -> str | None:
        """Return why an answer with this choice should not be stored; None when it may."""
        if not isinstance(choice, dict) or not isinstance(choice.get("text"), str):
            return "no-answer"
        reason = choice.get("finish_reason")
        if reason in TRUNCATED:
            return "truncated"
        if reason == "content_filter":
            return "filtered"
        if reason != "stop":
            return "incomplete"
        return None if choice["text"] else "empty"

    def assemble(self, blocks: list[bytes]) -> dict[str, Any]:
        try:
            return _assemble(blocks, self.traits)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a stream of completions: {error!r}") from error

    def replay(self, answer: Mapping[str, Any]) -> Iterator[bytes]:
        top = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
        usage = answer.get("usage")
        null_usage = {"usage": None} if "usage" in answer and not self.traits.gives_usage else {}
        parts = [part for choice in answer["choices"] for part in _parts(choice)]
        for at, part in enumerate(parts):
            last = at == len(parts) - 1 and usage is not None and self.traits.gives_usage
            yield data_event(dumps({**top, "choices": [part], **({"usage": usage} if last else null_usage)}))
        if usage is not None and not self.traits.gives_usage:
            yield data_event(dumps({**top, "choices": [], "usage": usage}))
        yield data_event(DONE)


def _parts(choice: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a choice of the canonical answer in two parts: all of it, why it ended."""
    yield {**choice, "finish_reason": None}
    last = {"text": "", "index": choice["index"]}
    if "logprobs" in choice:
        last["logprobs"] = None
    yield last | {"finish_reason": choice["finish_reason"]}


def _assemble(blocks: list[bytes], traits: Traits) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for chunk in read(blocks, traits):
        for part in chunk.pop("choices", None) or ():
            _add(choices.setdefault(part["index"], {}), part)
        # The first chunk names the answer; later ones add to it (usage) or say null.
        answer |= {name: value for name, value in chunk.items() if value is not None or name not in answer}
    if not answer:
        raise ValueError("the stream holds no chunk")
    answer["choices"] = [choices[index] for index in sorted(choices)]
    return answer


def _add(target: dict[str, Any], piece: dict[str, Any]) -> None:
    """Add a piece to what has come so far: texts and lists go on, the rest is said once, null undoes nothing."""
    for name, value in piece.items():
        old = target.get(name)
        if name == "content_filter_results":
            target[name] = graver(old, value)
        elif isinstance(value, dict) and isinstance(old, dict):
            _add(old, value)
        elif isinstance(value, list) and isinstance(old, list):
            old += value
        elif name == "text" and isinstance(value, str) and isinstance(old, str):
            target[name] = old + value
        elif value is not None or name not in target:
            target[name] = value
