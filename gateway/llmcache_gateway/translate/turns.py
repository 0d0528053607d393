"""A conversation of chat completions as one of Anthropic's messages."""

from typing import Any

from llmcache_gateway.translate import claude
from llmcache_gateway.translate.content import (
    Block,
    blocks,
    compact,
    mark_of,
    refused,
    thinking,
    tool_result,
    tool_use,
)

_SYSTEM = ("system", "developer")


def conversation(messages: Any, model: str) -> tuple[list[Block], list[dict[str, Any]]]:
    """Return the system prompt and the turns of a conversation; RequestError(400) where something can't be said.

    What stands at the beginning of a conversation is its system prompt. Later system messages stay where they are:
    moved to the beginning, they would change the prefix of what came before.
    """
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise refused("messages must be a list of objects", "messages")
    begins = next((at for at, one in enumerate(messages) if one.get("role") not in _SYSTEM), len(messages))
    system = [
        block
        for at, one in enumerate(messages[:begins])
        for block in blocks(one.get("content"), f"messages[{at}].content", mark_of(one))
    ]
    turns = _Turns(model)
    for at in range(begins, len(messages)):
        following = messages[at + 1].get("role") if at + 1 < len(messages) else None
        turns.add(messages[at], f"messages[{at}]", following)
    return system, turns.written()


class _Turns:
    """The turns so far. Results of tools that are asked for together are answered together."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._turns: list[tuple[str, list[Block]]] = []
        self._legacy = 0
        """How many calls had no id of their own, as those of the older `function_call` have none."""

    def add(self, message: dict[str, Any], param: str, following: Any) -> None:
        role = message.get("role")
        mark = mark_of(message)
        if role == "user":
            self._user(blocks(message.get("content"), f"{param}.content", mark))
        elif role == "assistant":
            self._assistant(message, param, mark)
        elif role == "tool":
            self._result(tool_result(message, str(message.get("tool_call_id", "")), param))
        elif role == "function":
            self._result(tool_result(message, self._legacy_id(), param))
        elif role in _SYSTEM:
            self._system(blocks(message.get("content"), f"{param}.content", mark), following)
        else:
            raise refused(f"a message of the role {str(role)[:50]!r} can't be said", f"{param}.role")

    def written(self) -> list[dict[str, Any]]:
        return [{"role": role, "content": compact(content)} for role, content in self._turns]

    def _user(self, content: list[Block]) -> None:
        if not content:
            return
        if self._answers_tools():
            self._turns[-1][1].extend(content)
        else:
            self._turns.append(("user", content))

    def _assistant(self, message: dict[str, Any], param: str, mark: Any) -> None:
        words = message.get("content") or message.get("refusal")  # a refusal is said in place of all else
        content = [*thinking(message), *blocks(words, f"{param}.content")]
        calls = message.get("tool_calls") or []
        content += [tool_use(call, f"{param}.tool_calls[{at}]") for at, call in enumerate(calls)]
        if message.get("function_call") is not None:
            self._legacy += 1
            call = {"id": self._legacy_id(), "function": message["function_call"]}
            content.append(tool_use(call, f"{param}.function_call"))
        if not content:
            return
        if mark is not None and not content[-1]["type"].endswith("thinking"):
            content[-1].setdefault("cache_control", mark)
        self._turns.append(("assistant", content))

    def _result(self, block: Block) -> None:
        if self._answers_tools() and self._turns[-1][1][-1]["type"] == "tool_result":
            self._turns[-1][1].append(block)
        else:
            self._turns.append(("user", [block]))

    def _system(self, content: list[Block], following: Any) -> None:
        if not content:
            return
        behind_user = bool(self._turns) and self._turns[-1][0] == "user"
        if claude.takes_system_turns(self._model) and behind_user and following in (None, "assistant"):
            self._turns.append(("system", content))
            return
        for block in content:
            if block["type"] == "text":
                block["text"] = f"<system-reminder>\n{block['text']}\n</system-reminder>"
        self._user(content)

    def _answers_tools(self) -> bool:
        return bool(self._turns) and self._turns[-1][0] == "user" and self._turns[-1][1][0]["type"] == "tool_result"

    def _legacy_id(self) -> str:
        return f"call_{self._legacy}"
