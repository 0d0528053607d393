"""Functions of the user's own on the request path."""

from typing import Annotated

from llmcache_gateway.config.model import Model, described
from llmcache_gateway.config.rules import Rule
from llmcache_gateway.config.scalars import Duration, SecretName, seconds

MAX_DEADLINE_SECONDS = 5.0


class ConfigMapRef(Model, frozen=True, kw_only=True):
    """A ConfigMap in the LLMCache's own namespace."""

    name: Annotated[SecretName, described("Name of the ConfigMap.")]


class Hooks(Model, frozen=True, kw_only=True):
    """Functions of the user's own on the request path."""

    RULES = (
        Rule(
            cel="duration(self.deadline) > duration('0s') && duration(self.deadline) <= duration('5s')",
            holds=lambda hooks: 0 < seconds(hooks.deadline) <= MAX_DEADLINE_SECONDS,
            message="deadline must be longer than 0s and at most 5s, such as 50ms",
            field="deadline",
        ),
    )

    config_map_ref: Annotated[
        ConfigMapRef,
        described(
            "ConfigMap whose `*.py` files define the hooks. The operator mounts it; standalone, `--hooks` names the "
            "folder instead."
        ),
    ]
    deadline: Annotated[
        Duration,
        described("Longest that a hook may hold a request up. One that takes longer is passed over, and counted."),
    ] = "50ms"
