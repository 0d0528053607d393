"""Every manifest of the semantic cache in examples/ does what its page says."""

import asyncio
import json
import os
import re
import shutil
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from llmcache_gateway.main import main
from tests.gateway.conftest import StartGateway, TestGateway
from tests.gateway.examples import EXAMPLES, manifest, question
from tests.gateway.provider import Provider
from tests.gateway.semantic.questions import DEBUG, ONLY_CACHED
from tests.gateway.semantic.unsure import LEAST, STORED, unsure_of
from tests.gateway.test_command_line import finish
from tests.qdrant_server import running_qdrant


async def once_taken_in(gateway: TestGateway, asked: dict[str, Any]) -> httpx.Response:
    """Return the answer from the cache to a question that means the same as one which is taken in in the background."""
    async with asyncio.timeout(60):
        while (  # noqa: ASYNC110 (only asking tells)
            hit := await gateway.post(asked, headers=ONLY_CACHED)
        ).status_code != 200:
            await asyncio.sleep(0.05)
    return hit


async def test_semantic_example_answers_a_question_in_other_words_and_only_measures_some(
    start_gateway: StartGateway,
) -> None:
    config = manifest("22-semantic")
    config["spec"]["semantic"]["deadline"] = "5s"  # a busy machine
    async with start_gateway(config) as gateway:
        for model in ("gpt-4o", "m"):
            await gateway.post(question("How do I reset my password?", model=model))
        asked = question("How can I reset my password?")
        hit = await once_taken_in(gateway, asked)
        assert 'detail="semantic"' in hit.headers["Cache-Status"]
        measured = {**asked, "model": "gpt-4o"}
        async with asyncio.timeout(30):
            while not await gateway.metric('llmcache_semantic_lookups_total{mode="shadow",outcome="served"}'):
                await gateway.post(measured, headers=ONLY_CACHED)
        assert (await gateway.post(measured)).headers["X-LLMCache"] == "MISS"
        async with asyncio.timeout(30):  # what came says nearly what would have been served
            right = 'llmcache_false_hits_sampled_total{policy="measured",verdict="right"}'
            while not await gateway.metric(right):  # noqa: ASYNC110 (only asking tells)
                await asyncio.sleep(0.05)
        assert await gateway.metric('llmcache_hits_total{tier="semantic"}') == 1


async def test_qdrant_example_searches_vectors_there(
    start_gateway: StartGateway, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "qdrant").mkdir()
    (tmp_path / "qdrant" / "api-key").write_text("a key")
    async with running_qdrant(api_key="a key") as qdrant:
        config = manifest("30-qdrant")
        config["spec"]["semantic"]["index"]["url"] = qdrant.url
        config["spec"]["semantic"]["deadline"] = "5s"  # a busy machine
        async with start_gateway(config, secrets=tmp_path, redis_url=redis_url) as gateway:
            await gateway.post(question("How do I reset my password?"))
            hit = await once_taken_in(gateway, question("How can I reset my password?"))
            assert 'detail="semantic"' in hit.headers["Cache-Status"]
            assert [name.rpartition("_")[0] for name in qdrant.collections] == ["llmcache_default_qdrant"]


async def test_judge_example_has_a_model_decide_what_the_verifier_was_not_sure_of(
    start_gateway: StartGateway, provider: Provider
) -> None:
    config = manifest("31-judge", "openai.yaml")
    config["spec"]["upstreams"][0] |= {"baseURL": provider.base_url}
    config["spec"]["semantic"] |= {"deadline": "5s", "threshold": 0.1}  # a busy machine; and rewordings of any kind
    config["spec"]["semantic"]["judge"] |= {"leastScore": LEAST}
    async with start_gateway(config, environment={"OPENAI_API_KEY": "k"}) as gateway:
        await gateway.post(question(STORED))
        near = question(unsure_of())
        async with asyncio.timeout(60):
            while not await gateway.metric('llmcache_semantic_rejected_total{guard="verifier"}'):
                await gateway.post(near, headers=ONLY_CACHED)
            await gateway.post(near)
            unknown = 'llmcache_semantic_judged_total{by="model",policy="default",verdict="unknown"}'
            while not await gateway.metric(unknown):  # noqa: ASYNC110 (only asking tells)
                await asyncio.sleep(0.05)
    assert [call["body"]["model"] for call in provider.calls].count("gpt-4o-mini") == 1


async def test_judge_example_takes_a_question_for_another_as_its_page_says(start_gateway: StartGateway) -> None:
    config = manifest("31-judge")
    config["spec"]["semantic"] |= {"deadline": "5s"}  # a busy machine
    page = (
        (EXAMPLES.parent / "docs" / "semantic.md")
        .read_text()
        .partition("serve --config examples/31-judge/llmcache.yaml")[2]
    )
    stored, near, again = re.findall(r"ask '([^']+)'", page)
    async with start_gateway(config) as gateway, asyncio.timeout(60):
        await gateway.post(question(stored))
        while not await gateway.metric('llmcache_semantic_rejected_total{guard="verifier"}'):
            await gateway.post(question(near), headers=ONLY_CACHED)
        answer = await gateway.post(question(near), headers=DEBUG)
        assert answer.headers["X-LLMCache"] == "MISS"
        assert answer.headers["X-LLMCache-Semantic"].endswith("; unsure")
        while not await gateway.metric(  # noqa: ASYNC110 (only asking tells)
            'llmcache_semantic_judged_total{by="answers",policy="default",verdict="same"}'
        ):
            await asyncio.sleep(0.05)
        while (await gateway.post(question(again), headers=ONLY_CACHED)).status_code != 200:  # noqa: ASYNC110 (only asking tells)
            await asyncio.sleep(0.05)
        assert await gateway.metric('llmcache_hits_total{tier="alias"}')


def test_evaluate_example_serves_rewordings_and_no_look_alike(capsys: pytest.CaptureFixture[str]) -> None:
    assert manifest("27-evaluate")["spec"]["semantic"] == {"enabled": True}
    folder = EXAMPLES / "27-evaluate"
    arguments = ["--config", str(folder / "llmcache.yaml"), "--pairs", str(folder / "pairs.jsonl"), "--json"]

    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *arguments, "--max-wrong", "4%"])

    told = json.loads(capsys.readouterr().out)
    assert (ended.value.code, told["served"], told["wrong"]) == (0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("change", "status"),
    [({}, 0), ({"guards": False, "verifier": "none", "threshold": 0.6}, 1), ({"verifier": "medium"}, 2)],
    ids=["as it is", "without what decides", "that is none"],
)
async def test_evaluate_examples_job_refuses_a_change_that_answers_wrongly(
    change: dict[str, Any], status: int, tmp_path: Path
) -> None:
    job = yaml.safe_load((EXAMPLES / "27-evaluate" / "check.yml").read_text())["jobs"]["evaluate"]
    (command,) = [step["run"] for step in job["steps"] if "run" in step]
    cache = tmp_path / "examples" / "27-evaluate"
    shutil.copytree(EXAMPLES / "27-evaluate", cache)
    config = manifest("27-evaluate")
    config["spec"]["semantic"] |= change
    (cache / "llmcache.yaml").write_text(yaml.safe_dump(config))
    # In place of the image: its entry point, which finds what is mounted at /cache in its place.
    docker = tmp_path / "docker"
    docker.write_text(
        '#!/bin/sh\nset -e\n[ "$1 $2 $3 $4" = "run --rm -v $PWD/examples/27-evaluate:/cache:ro" ]\n'
        f'[ "$5" = "$GATEWAY_IMAGE" ]\nshift 5\nexec {sys.executable} -m llmcache_gateway.main '
        '$(echo "$@" | sed "s|/cache/|$PWD/examples/27-evaluate/|g")\n'
    )
    docker.chmod(0o755)
    environment = os.environ | job["env"] | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    process = await asyncio.create_subprocess_exec(
        "bash", "-e", "-c", command, cwd=tmp_path, env=environment, stdout=PIPE, stderr=PIPE
    )

    ended, out, err = await finish(process)
    assert ended == status, (out, err)
    if status == 1:
        assert "--max-wrong allows 4.00%" in err
