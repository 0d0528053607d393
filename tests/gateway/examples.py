"""The manifests in examples/, as tests start them."""

from pathlib import Path
from typing import Any

import yaml

EXAMPLES = Path(__file__).parents[2] / "examples"


def question(text: str = "Hi", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def manifest(name: str, file: str = "llmcache.yaml") -> Any:
    config = yaml.safe_load((EXAMPLES / name / file).read_text())
    store = config["spec"].get("cache", {}).get("store")
    if store is not None:
        store["timeout"] = "2s"  # a machine that is busy with tests must not turn hits into misses
    return config
