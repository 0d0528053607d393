"""A request for a chat completion as one for a message."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llmcache_gateway.translate import claude
from llmcache_gateway.translate.content import Block, mark_of, refused, text_block
from llmcache_gateway.translate.turns import conversation

SAMPLING_VERSION: Final = "2023-06-01"
"""The version of Anthropic's API that takes `temperature`, `top_p` and `top_k`."""

VERSION: Final = "2026-10-21"

MAX_MARKS: Final = 4
"""How many hints one request may carry."""

_READ: Final = frozenset(
    {
        "model", "messages", "max_tokens", "max_completion_tokens", "tools", "tool_choice", "parallel_tool_calls",
        "functions", "function_call", "stop", "temperature", "top_p", "top_k", "response_format", "reasoning_effort",
        "user", "safety_identifier", "service_tier", "stream", "stream_options", "n", "modalities", "audio",
        "prompt_cache_breakpoint",
    }
)  # fmt: skip

_DROPPED: Final = frozenset(
    {
        "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "metadata", "store", "seed", "logit_bias",
        "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "prediction", "verbosity",
    }
)  # fmt: skip
"""What Claude has nothing like. Values that ask for what it does anyway, such as a penalty of 0, are not told."""

_ASKING: Final = frozenset({"seed", "store"})
"""Those of which 0 and false ask for something, too."""

_BUDGETS: Final = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768, "max": 32768}
"""How many tokens to think for, for models that don't take an effort; the provider's least is 1024."""

_ANSWER: Final = 4096
"""How many tokens are left for the answer where there are twice as many, else half: a budget is of the same tokens."""

_JSON: Final = "Answer with one JSON object and nothing else."


@dataclass(frozen=True, slots=True)
class Translated:
    """A request as Anthropic's messages take it, with the API version that it needs and what had no place in it."""

    body: dict[str, Any]
    version: str
    dropped: tuple[str, ...]


def translated(chat: Mapping[str, Any], model: str, max_tokens: int) -> Translated:
    """Return a chat completion's request for a model; `max_tokens` where it sets none itself.

    RequestError(400) for what can't be said. Members that neither API is known to have go on as they came, for the
    provider to judge.
    """
    try:
        return _translated(chat, model, max_tokens)
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise refused(f"a member is not of the type that it should be: {error}", "body") from None


def _translated(chat: Mapping[str, Any], model: str, max_tokens: int) -> Translated:
    dropped = sorted(name for name in _DROPPED if chat.get(name) or (name in _ASKING and chat.get(name) is not None))
    system, turns = conversation(chat.get("messages"), model)
    _check_modest(chat)
    body: dict[str, Any] = {"model": model, "max_tokens": _max_tokens(chat, max_tokens)}
    body |= {
        name: value
        for name, value in chat.items()
        if name not in _READ and name not in _DROPPED and value is not None  # null is how OpenAI's clients say nothing
    }
    form = chat.get("response_format")
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "json_object":
        system.append(text_block(_JSON))
    elif kind == "json_schema":
        schema = form.get("json_schema") if isinstance(form, dict) else None
        wanted = {"type": "json_schema", "schema": (schema or {}).get("schema") or {}}
        body["output_config"] = {**body.get("output_config", {}), "format": wanted}
    if system:
        body["system"] = system
    body["messages"] = turns
    body |= _tools(chat)
    body |= _thinking(chat, model, body)
    if chat.get("reasoning_effort") not in (None, "none") and body.keys().isdisjoint(("thinking", "output_config")):
        dropped.append("reasoning_effort")
    sampling = {name: chat[name] for name in ("temperature", "top_p", "top_k") if chat.get(name) is not None}
    version = VERSION
    if sampling and claude.takes_sampling(model) and body.get("thinking", {"type": "disabled"})["type"] == "disabled":
        version = SAMPLING_VERSION
        if {"temperature", "top_p"} <= sampling.keys() and claude.takes_one_sampler(model):
            del sampling["top_p"]
            dropped.append("top_p")
        if "temperature" in sampling:
            sampling["temperature"] = min(sampling["temperature"], 1)
        body |= sampling
    else:
        dropped += sampling
    stop = chat.get("stop")
    asked = [stop] if isinstance(stop, str) else stop or []
    stops = [one for one in asked if one.strip()]  # the provider refuses one of blanks
    if stops:
        body["stop_sequences"] = stops
    if len(stops) < len(asked):
        dropped.append("stop")
    user = chat.get("safety_identifier") or chat.get("user")
    if user:
        body["metadata"] = {"user_id": user}
    if chat.get("user") not in (None, "", user):
        dropped.append("user")
    tier = chat.get("service_tier")
    if tier is not None:
        body["service_tier"] = "standard_only" if tier == "default" else "auto"
    if chat.get("stream"):
        body["stream"] = True
    _put_marks_in_order(body)
    return Translated(body, version, tuple(dropped))


def _check_modest(chat: Mapping[str, Any]) -> None:
    if (chat.get("n") or 1) != 1:
        raise refused("one choice is all there is: n must be 1", "n")
    if chat.get("audio") is not None or any(one != "text" for one in chat.get("modalities") or ()):
        raise refused("answers are texts: no audio", "modalities")


def _max_tokens(chat: Mapping[str, Any], otherwise: int) -> Any:
    for name in ("max_completion_tokens", "max_tokens"):
        if chat.get(name) is not None:
            return chat[name]
    return otherwise


def _tools(chat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that say what tools there are, and which are to be used."""
    tools = [_tool(tool, f"tools[{at}]") for at, tool in enumerate(chat.get("tools") or ())]
    legacy = chat.get("functions") or ()
    tools += [_tool({"type": "function", "function": one}, f"functions[{at}]") for at, one in enumerate(legacy)]
    if not tools:
        return {}
    choice = _choice(chat.get("tool_choice", chat.get("function_call")))
    if chat.get("parallel_tool_calls") is False and (choice is None or choice["type"] != "none"):
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return {"tools": tools} if choice is None else {"tools": tools, "tool_choice": choice}


def _tool(tool: Any, param: str) -> Block:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    if not isinstance(function, dict):
        raise refused("only tools of type 'function' can be said", param)
    found = {"name": function.get("name")}
    if function.get("description") is not None:
        found["description"] = function["description"]
    found["input_schema"] = function.get("parameters") or {"type": "object", "properties": {}}
    if function.get("strict") is not None:
        found["strict"] = function["strict"]
    mark = mark_of(tool) or mark_of(function)
    return found if mark is None else {**found, "cache_control": mark}


def _choice(asked: Any) -> Block | None:
    if asked is None:
        return None
    plain = {"auto": "auto", "none": "none", "required": "any"}.get(asked) if isinstance(asked, str) else None
    if plain is not None:
        return {"type": plain}
    function = asked.get("function", asked) if isinstance(asked, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise refused("tool_choice must be auto, none, required or one function", "tool_choice")
    return {"type": "tool", "name": name}


def _thinking(chat: Mapping[str, Any], model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    effort = chat.get("reasoning_effort")
    if effort is None or effort == "none" or "thinking" in body:
        return {}
    if effort not in _BUDGETS:
        raise refused(f"reasoning_effort must be none, {', '.join(_BUDGETS)}", "reasoning_effort")
    forced = body.get("tool_choice", {}).get("type") in ("any", "tool")  # which nothing that thinks takes
    if not claude.thinks_by_budget(model):
        config = {**body.get("output_config", {}), "effort": "low" if effort == "minimal" else effort}
        return {"output_config": config} if forced else {"thinking": {"type": "adaptive"}, "output_config": config}
    room = body["max_tokens"] if isinstance(body["max_tokens"], int) else 0
    least = min(_BUDGETS.values())
    if forced or room <= least or _acts_without_thoughts(body["messages"]):
        return {}
    most = max(least, room // 2, room - _ANSWER)
    return {"thinking": {"type": "enabled", "budget_tokens": min(_BUDGETS[effort], most)}}


def _acts_without_thoughts(turns: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether the model uses tools right now and its thoughts before were not given back.

    It must not begin to think in the middle of that, where it thinks by a budget.
    """
    answered = next((turn["content"] for turn in reversed(turns) if turn["role"] == "user"), None)
    acted = next((turn["content"] for turn in reversed(turns) if turn["role"] == "assistant"), None)
    if not isinstance(acted, list) or not isinstance(answered, list) or answered[0]["type"] != "tool_result":
        return False
    return not acted[0]["type"].endswith("thinking")


def _put_marks_in_order(body: Mapping[str, Any]) -> None:
    """Keep the last marks of more than there may be, and no longer lifetime behind a shorter one."""
    marked = [block for block in _markable(body) if isinstance(block.get("cache_control"), dict)]
    room = MAX_MARKS - (body.get("cache_control") is not None)
    for block in marked[: max(0, len(marked) - room)]:
        del block["cache_control"]
    short = False
    for block in marked[max(0, len(marked) - room) :]:
        mark = block["cache_control"]
        if short and mark.get("ttl") == "1h":
            block["cache_control"] = {name: value for name, value in mark.items() if name != "ttl"}
        short = short or mark.get("ttl") != "1h"


def _markable(body: Mapping[str, Any]) -> Iterator[Block]:
    """Yield all that may carry a mark, in the order in which the provider reads it."""
    yield from body.get("tools", ())
    yield from body.get("system", ())
    for turn in body["messages"]:
        if isinstance(turn["content"], list):
            yield from turn["content"]
