"""Which settings of a configuration are evaluated: its own, or those of one of its policies. Pure."""

from collections.abc import Sequence

from llmcache_gateway.config import Policy, Problem, Semantic
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.policy import overridden


def chosen(semantic: Semantic, policies: Sequence[Policy], name: str | None) -> Semantic:
    """Return what holds for the requests of the named policy, or where none matches.

    ConfigError for a policy that is none, and where the semantic cache is off.
    """
    if name is None:
        if semantic.enabled:
            return semantic
        on = [one.name for one in policies if overridden(semantic, one.semantic).enabled]
        message = "is not true: there is nothing to evaluate; set it"
        if on:
            message = f"is not true, but for some policies it is: name one by --policy: {', '.join(on)}"
        raise ConfigError([Problem("spec.semantic.enabled", message)])
    for at, policy in enumerate(policies):
        if policy.name == name:
            found = overridden(semantic, policy.semantic)
            if not found.enabled:
                message = "is not true for this policy: there is nothing to evaluate; set it"
                raise ConfigError([Problem(f"spec.policies[{at}].semantic.enabled", message)])
            return found
    known = ", ".join(policy.name for policy in policies)
    there = f"there are {known}" if known else "there is none: leave it out"
    raise ConfigError([Problem("--policy", f"no policy has the name {name!r}; {there}")])
