"""Reads from the cluster what a reconciliation decides on. Nothing here writes."""

import asyncio
from collections.abc import Iterable, Mapping

from llmcache_operator.gateways import Gateways, heard
from llmcache_operator.kube import Kube
from llmcache_operator.observed import Pod, Report, Trouble
from llmcache_operator.savings import Told
from llmcache_operator.specs import OPTIONAL_KINDS, Identity, Key, Object


async def objects(kube: Kube, namespace: str, keys: Iterable[Key]) -> dict[Key, Object | None]:
    """Return objects by kind and name, None where there is none."""
    wanted = list(dict.fromkeys(keys))
    found = await asyncio.gather(*(kube.get(kind, namespace, name) for kind, name in wanted))
    return dict(zip(wanted, found, strict=True))


async def absent_kinds(kube: Kube, live: Mapping[Key, Object | None]) -> list[str]:
    """Return the kinds of objects that the API server does not know: their CustomResourceDefinition is not there."""
    kinds = sorted({kind for (kind, _), found in live.items() if found is None and kind in OPTIONAL_KINDS})
    served = await asyncio.gather(*(kube.served(kind) for kind in kinds))
    return [kind for kind, known in zip(kinds, served, strict=True) if not known]


async def missing(kube: Kube, namespace: str, wanted: Mapping[Key, Iterable[str]]) -> Trouble | None:
    """Return what is referred to and not there: a Secret or a ConfigMap, or a key of one."""
    live = await objects(kube, namespace, wanted)
    phrases: dict[str, list[str]] = {}
    for (kind, name), keys in wanted.items():
        found, told = live[kind, name], phrases.setdefault(kind, [])
        if found is None:
            named = f" (wanted: {', '.join(keys)})" if keys else ""
            told.append(f"{kind} {name} is not there{named}")
        else:
            told += [f"{kind} {name} has no key {key}" for key in keys if key not in (found.get("data") or {})]
    lacking = {kind: told for kind, told in phrases.items() if told}
    if not lacking:
        return None
    return Trouble(f"{next(iter(lacking))}Missing", "; ".join(phrase for told in lacking.values() for phrase in told))


async def pods(kube: Kube, identity: Identity) -> dict[str, list[Object]]:
    """Return the pods of an LLMCache by component."""
    selector = f"app.kubernetes.io/part-of=llmcache,app.kubernetes.io/instance={identity.name}"
    found: dict[str, list[Object]] = {}
    for pod in await kube.list("Pod", identity.namespace, selector):
        found.setdefault(pod["metadata"]["labels"].get("app.kubernetes.io/component", ""), []).append(pod)
    return found


async def reports(gateways: Gateways, pods: Iterable[Pod], token: str) -> dict[str, Report]:
    """Return what each ready gateway says of itself, by pod; those that can't be asked are left out."""

    return await heard({pod.name: gateways.report(pod.address, token) for pod in pods if pod.ready and pod.address})


async def told(gateways: Gateways, pods: Iterable[Pod], token: str) -> dict[str, Told]:
    """Return what each ready gateway has counted, by pod; those that can't be asked are left out."""
    return await heard({pod.name: gateways.told(pod.address, token) for pod in pods if pod.ready and pod.address})
