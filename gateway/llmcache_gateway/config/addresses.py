"""Addresses whose port or host can't be one, which no pattern can say."""

from urllib.parse import urlsplit

from llmcache_gateway.config.gateway import GatewaySpec
from llmcache_gateway.config.validate import Problem
from llmcache_gateway.errors import ConfigError


def check_addresses(spec: GatewaySpec) -> None:
    """Raise ConfigError for every such address of a configuration."""
    addresses = [
        (f"spec.upstreams[{at}].baseURL", one.base_url) for at, one in enumerate(spec.upstreams) if one.base_url
    ]
    if spec.redis is not None:
        addresses += [("spec.redis", address) for address in spec.redis.addresses]
    if spec.s3 is not None and spec.s3.endpoint is not None:
        addresses.append(("spec.s3.endpoint", spec.s3.endpoint))
    if spec.semantic.index.url is not None:
        addresses.append(("spec.semantic.index.url", spec.semantic.index.url))
    problems = []
    for path, address in addresses:
        try:
            if urlsplit(address if "://" in address else f"//{address}").port == 0:
                raise ValueError("port 0 can't be reached")
        except ValueError as error:
            problems.append(Problem(path, f"{address} is no address: {error}"))
    if problems:
        raise ConfigError(problems)
