"""Every manifest in examples/ does what its page says; those of the semantic cache in test_examples_semantic.py."""

import asyncio
import json
import shutil
import sys
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from llmcache_gateway.config import LLMCache, load_config
from tests.gateway.anthropic_provider import running_anthropic
from tests.gateway.conftest import ADMIN, StartGateway
from tests.gateway.examples import EXAMPLES, manifest, question
from tests.gateway.provider import Provider, completion
from tests.gateway.providers.google import running_google
from tests.gateway.test_command_line import finish, start
from tests.redis_server import running_redis
from tests.redis_topologies import MASTER, Sentinels, documented_user, make_certificates, running_cluster
from tests.s3_server import BUCKET, S3Server, write_key

MANIFESTS = sorted(EXAMPLES.glob("*/*.yaml"))


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: str(file.relative_to(EXAMPLES)))
def test_every_manifest_is_in_order(file: Path) -> None:
    assert isinstance(load_config(file.read_text()), LLMCache)


def test_every_example_has_a_manifest_and_a_test() -> None:
    # 16-gitops is a whole Git repository: tests/operator/test_gitops_example.py
    examples = {path.name for path in EXAMPLES.iterdir()} - {"16-gitops"}
    assert {file.parent.name for file in MANIFESTS} == examples
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_examples*.py"))
    assert all(f'manifest("{name}")' in tests for name in examples)


async def test_quickstart_shows_a_miss_then_a_hit(start_gateway: StartGateway) -> None:
    async with start_gateway(manifest("01-quickstart")) as gateway:
        outcomes = [(await gateway.post(question())).headers["X-LLMCache"] for _ in range(2)]
    assert outcomes == ["MISS", "HIT"]


async def test_gemini_example_serves_streams_of_both_forms_from_an_unstreamed_answer(
    start_gateway: StartGateway,
) -> None:
    contents = {"contents": [{"parts": [{"text": "Hi there"}]}]}
    async with start_gateway(manifest("19-gemini")) as gateway:
        verbs = ("generateContent", "streamGenerateContent?alt=sse", "streamGenerateContent")
        given = [await gateway.post(contents, f"/v1beta/models/m:{verb}") for verb in verbs]
        assert [one.headers["X-LLMCache"] for one in given] == ["MISS", "HIT", "HIT"]
        answer = given[0].json()
        assert answer["candidates"][0]["content"]["parts"] == [{"text": "echo: Hi there"}]
        assert (json.loads(given[1].text.removeprefix("data: ")), given[2].json()) == (answer, [answer])
        streamed = await gateway.post({"contents": [{"parts": [{"text": "Ho"}]}]}, f"/v1beta/models/m:{verbs[1]}")
        assert (streamed.headers["X-LLMCache"], streamed.text.count("data: ")) == ("MISS", 2)
        nothing = await gateway.post({"contents": []}, f"/v1beta/models/m:{verbs[0]}")
        assert (nothing.status_code, nothing.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


async def test_translation_example_gives_chat_completions_of_a_provider_of_messages(
    start_gateway: StartGateway,
) -> None:
    config = manifest("23-translation")
    hello = question("Hi", model="anthropic/claude-sonnet-5-5")
    headers = {"Authorization": "Bearer x"}
    async with start_gateway(config) as gateway:
        config["spec"]["upstreams"][1]["baseURL"] = gateway.url  # the page's port may be taken
        gateway.rewrite(config)
        async with asyncio.timeout(20):
            while (await gateway.post(hello, headers=headers)).status_code != 200:  # noqa: ASYNC110 (only asking tells)
                await asyncio.sleep(0.1)
        streamed = await gateway.post({**hello, "stream": True}, headers=headers)
    assert streamed.headers["X-LLMCache"] == "HIT"
    assert "echo: Hi" in streamed.text
    assert "chat.completion.chunk" in streamed.text


async def test_hints_example_marks_what_came_before_and_always_the_bots_instructions(
    start_gateway: StartGateway,
) -> None:
    body = {"model": "claude-sonnet-5-5", "max_tokens": 9, "system": "Know all about caches. " * 300}
    async with running_anthropic() as provider:
        config = manifest("21-hints")
        config["spec"]["upstreams"][0] |= {"baseURL": provider.base_url}
        async with start_gateway(config, environment={"ANTHROPIC_API_KEY": "k"}) as gateway:
            for text, app in (("Hi", "x"), ("Ho", "x"), ("Hi", "bot")):
                asked = body | {"messages": [{"role": "user", "content": f"{text} from {app}"}]}
                headers = {"X-App": app, "anthropic-version": "2026-10-21"}
                await gateway.post(asked, "/v1/messages", headers=headers)
    marks = [call["body"]["system"][0].get("cache_control") for call in provider.calls[1:]]
    assert provider.calls[0]["body"]["system"] == body["system"]
    assert marks == [{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}]


async def test_cached_contents_example_makes_one_of_the_bots_instructions(start_gateway: StartGateway) -> None:
    body = {"systemInstruction": {"parts": [{"text": "Know all about caches. " * 900}]}}
    async with running_google() as provider:
        config = manifest("29-cached-contents")
        config["spec"]["upstreams"][0] |= {"baseURL": provider.url}
        async with start_gateway(config, environment={"GEMINI_API_KEY": "k"}) as gateway, asyncio.timeout(30):
            numbers = iter(range(1000))
            while not (provider.made and provider.using()[-1] == provider.made[0]):
                asked = body | {"contents": [{"role": "user", "parts": [{"text": f"Question {next(numbers)}"}]}]}
                answered = await gateway.post(asked, "/v1beta/models/gemini-3.8-flash:generateContent")
                assert answered.status_code == 200
    assert (len(provider.made), provider.using()[:3]) == (1, [None] * 3)
    assert provider.deleted == provider.made


async def test_bedrock_example_answers_awss_own_sdk_streamed_and_not(start_gateway: StartGateway) -> None:
    async with start_gateway(manifest("20-bedrock")) as gateway:
        program = await asyncio.create_subprocess_exec(
            sys.executable, EXAMPLES / "20-bedrock" / "ask.py", gateway.url, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await program.communicate()
        assert said.decode().splitlines() == [f"{outcome} echo: Hi there" for outcome in ("MISS", "HIT", "HIT")]
        streamed = await gateway.post({"messages": [{"content": [{"text": "a b"}]}]}, "/model/m/converse-stream")
        assert (streamed.headers["X-LLMCache"], streamed.content.count(b"contentBlockDelta")) == ("MISS", 3)
        nothing = await gateway.post({"messages": []}, "/model/m/converse")
        assert (nothing.status_code, nothing.json()["code"]) == (400, "ValidationException")
        other = await gateway.post({}, "/model/m/count-tokens")
        assert (other.status_code, other.json()["code"]) == (404, "ResourceNotFoundException")


@pytest.mark.parametrize(
    ("name", "root"),
    [
        ("openai", "/v1"),
        ("deepseek", ""),
        ("openrouter", "/api/v1"),
        ("mistral", "/v1"),
        ("xai", "/v1"),
        ("groq", "/openai/v1"),
        ("fireworks", "/inference/v1"),
    ],
)
async def test_providers_example_asks_each_provider_with_its_key_for_its_models(
    start_gateway: StartGateway, provider: Provider, name: str, root: str
) -> None:
    config = manifest("24-providers")
    models = {one["name"]: one["models"][0].replace("*", "1") for one in config["spec"]["upstreams"]}
    keys = {one["credential"]["env"]: f"sk-{one['name']}" for one in config["spec"]["upstreams"]}
    for one in config["spec"]["upstreams"]:
        one["baseURL"] = provider.base_url.removesuffix("/v1") if one["name"] == "anthropic" else provider.base_url
    ask = question(name) | {"model": models[name]}
    async with start_gateway(config, environment=keys) as gateway:
        given = [await gateway.post(ask, f"{root}/chat/completions") for _ in range(2)]
        anthropic = await gateway.post({**ask, "model": models["anthropic"], "max_tokens": 9}, "/v1/messages")
    assert [one.headers["X-LLMCache"] for one in given] == ["MISS", "HIT"]
    assert provider.calls[0]["headers"]["Authorization"] == f"Bearer sk-{name}"
    assert (anthropic.status_code, provider.calls[1]["headers"]["x-api-key"]) == (200, "sk-anthropic")


async def test_azure_example_asks_a_deployment_with_the_key_and_the_newer_api_too(
    start_gateway: StartGateway, provider: Provider
) -> None:
    config = manifest("28-azure")
    config["spec"]["upstreams"][0]["baseURL"] = provider.base_url.removesuffix("/v1")
    path = "/openai/deployments/gpt-4o-mini/chat/completions?api-version=2024-10-21"

    async def behave(request: web.Request) -> web.StreamResponse:
        return web.json_response(completion(1, "gpt-4o-mini", "yes"))

    provider.behave = behave
    async with start_gateway(config, environment={"AZURE_OPENAI_API_KEY": "k"}) as gateway:
        given = [await gateway.post({"messages": question()["messages"]}, path) for _ in range(2)]
        newer = await gateway.post(question(model="gpt-4o-mini"), "/openai/v1/chat/completions")
    assert [one.headers["X-LLMCache"] for one in (*given, newer)] == ["MISS", "HIT", "MISS"]
    assert [call["headers"]["api-key"] for call in provider.calls] == ["k", "k"]


async def test_redis_example_shares_entries_between_two_gateways(start_gateway: StartGateway, redis_url: str) -> None:
    config = manifest("02-redis")
    async with start_gateway(config, redis_url=redis_url) as one, start_gateway(config, redis_url=redis_url) as other:
        assert (await one.post(question())).headers["X-LLMCache"] == "MISS"
        await one.running.reloader.current.store.flush()
        assert (await other.post(question())).headers["X-LLMCache"] == "HIT"


async def test_disk_example_keeps_entries_over_a_restart(start_gateway: StartGateway, tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        async with start_gateway(manifest("07-disk"), data=tmp_path) as gateway:
            seen += [(await gateway.post(question())).headers["Cache-Status"] for _ in range(2)]
    assert "fwd=miss" in seen[0]
    assert [status.rsplit("=", 1)[1] for status in seen[1:]] == ['"memory"', '"disk"', '"memory"']


async def test_stores_example_answers_without_its_redis(start_gateway: StartGateway) -> None:
    config = manifest("08-stores")
    with running_redis() as server:
        config["spec"]["redis"]["external"] = {"url": server.url}
        async with start_gateway(config) as gateway:
            assert (await gateway.post(question())).headers["X-LLMCache"] == "MISS"
            await gateway.running.reloader.current.store.flush()
            server.process.kill()
            server.process.wait()
            assert (await gateway.post(question())).headers["X-LLMCache"] == "HIT"  # L1 has it
            assert (await gateway.post(question("new"))).headers["X-LLMCache"] == "MISS"
            assert (await gateway.status())["store"]["healthy"] is False


async def test_s3_example_shares_entries_and_has_them_still_when_all_gateways_are_gone(
    start_gateway: StartGateway, s3: S3Server, tmp_path: Path
) -> None:
    config = manifest("13-s3")
    config["spec"]["s3"] |= {"bucket": BUCKET, "endpoint": s3.url, "region": "us-east-1"}
    options = {"secrets": write_key(tmp_path)}
    async with start_gateway(config, **options) as one, start_gateway(config, **options) as other:
        assert (await one.post(question())).headers["X-LLMCache"] == "MISS"
        await one.running.reloader.current.store.flush()
        tiers = [(await other.post(question())).headers["Cache-Status"].rsplit("=", 1)[1] for _ in range(2)]
        assert tiers == ['"s3"', '"memory"']
    async with start_gateway(config, **options) as third:
        assert (await third.post(question())).headers["X-LLMCache"] == "HIT"


async def test_sentinel_example_keeps_entries_where_the_sentinels_say(
    start_gateway: StartGateway, sentinels: Sentinels
) -> None:
    config = manifest("14-sentinel")
    config["spec"]["redis"]["external"]["sentinel"] |= {
        "master": MASTER,
        "hosts": sentinels.external["sentinel"]["hosts"],
    }
    async with start_gateway(config) as gateway:
        assert (await gateway.post(question())).headers["X-LLMCache"] == "MISS"
        await gateway.running.reloader.current.store.flush()
        assert (await gateway.post(question())).headers["X-LLMCache"] == "HIT"
        assert (await gateway.status())["store"]["healthy"] is True


async def test_cluster_example_speaks_tls_with_the_rights_of_its_user(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    secret = tmp_path / "secrets" / "redis"
    secret.mkdir(parents=True)
    certificates = make_certificates(tmp_path, "redis.example")
    shutil.copy(certificates.ca, secret / "ca.crt")
    (secret / "password").write_text("secret")
    options = [*certificates.options, "--tls-auth-clients", "optional", "--tls-cluster", "yes"]
    config = manifest("15-cluster")
    with running_cluster(options, tls=True, client_options=certificates.client_options) as cluster:
        for server in cluster.servers:
            server.command("ACL", "SETUSER", *documented_user("secret", cluster=True))
        config["spec"]["redis"]["external"]["cluster"] = cluster.external["cluster"]
        running = start_gateway(config, secrets=tmp_path / "secrets")
        other = start_gateway(config, secrets=tmp_path / "secrets")
        async with running as gateway, other as replica:
            for number in range(10):
                assert (await gateway.post(question(str(number)))).headers["X-LLMCache"] == "MISS"
            await gateway.running.reloader.current.store.flush()
            for number in range(10):
                assert (await replica.post(question(str(number)))).headers["X-LLMCache"] == "HIT"


async def test_tenancy_example_keeps_teams_apart_and_strangers_out(start_gateway: StartGateway) -> None:
    async with start_gateway(manifest("03-tenancy"), secrets=EXAMPLES / "03-tenancy" / "secrets") as gateway:
        seen = []
        for key in ("sk-search-1", "sk-search-1", "sk-search-2", "sk-support-1", "sk-stranger"):
            response = await gateway.post(question(), headers={"Authorization": f"Bearer {key}"})
            seen.append((response.status_code, response.headers["X-LLMCache"]))
    assert seen == [(200, "MISS"), (200, "HIT"), (200, "HIT"), (200, "MISS"), (401, "BYPASS")]


async def test_freshness_example_serves_stale_and_refreshes_behind_it(start_gateway: StartGateway) -> None:
    now = 1_800_000_000.0
    async with start_gateway(manifest("04-freshness"), clock=lambda: now) as gateway:

        async def outcome(**headers: str) -> str:
            response = await gateway.post(question(), headers={"Cache-Control": headers.get("control", "max-age=99")})
            return response.headers["X-LLMCache"] if response.status_code == 200 else str(response.status_code)

        assert [await outcome(), await outcome()] == ["MISS", "HIT"]
        now += 6
        assert await outcome() == "STALE"
        await asyncio.sleep(0.5)
        assert await outcome() == "HIT"
        now += 1
        assert await outcome(control="max-age=0") == "MISS"
        assert await outcome(control="only-if-cached, min-fresh=60") == "504"


async def test_invalidation_example_takes_back_what_has_a_tag(start_gateway: StartGateway) -> None:
    async with start_gateway(manifest("10-invalidation")) as gateway, httpx.AsyncClient(headers=ADMIN) as client:

        async def outcome() -> str:
            return (await gateway.post(question(), headers={"X-LLMCache-Tags": "faq"})).headers["X-LLMCache"]

        assert [await outcome(), await outcome()] == ["MISS", "HIT"]
        told = await client.post(f"{gateway.admin_url}/admin/v1/invalidate", json={"tags": ["faq"]})
        assert told.json()["deleted"] == 1
        assert await outcome() == "MISS"


async def test_coalescing_example_makes_one_call_of_equal_requests(start_gateway: StartGateway) -> None:
    async with start_gateway(manifest("06-coalescing")) as gateway:

        async def outcomes(model: str) -> list[str]:
            answers = await asyncio.gather(*(gateway.post({**question(), "model": model}) for _ in range(3)))
            return sorted(answer.headers["X-LLMCache"] for answer in answers)

        assert await outcomes("m") == ["COALESCED", "COALESCED", "MISS"]
        assert await outcomes("each-1") == ["MISS", "MISS", "MISS"]


async def test_pace_example_gives_a_stream_as_slowly_as_it_came_or_at_once(start_gateway: StartGateway) -> None:
    async with start_gateway(manifest("18-pace")) as gateway:

        async def ask(model: str) -> tuple[str, bool]:
            """Return what the cache did, and whether all was there at once: only then has it a length."""
            answer = await gateway.post({**question(), "model": model, "stream": True})
            await gateway.running.reloader.current.store.flush()
            return answer.headers["X-LLMCache"], "Content-Length" in answer.headers

        assert [await ask("m"), await ask("m")] == [("MISS", False), ("HIT", False)]
        assert [await ask("fast-1"), await ask("fast-1")] == [("MISS", False), ("HIT", True)]


async def test_keys_example_takes_requests_for_one_that_differ_in_what_it_evens_out(
    start_gateway: StartGateway,
) -> None:
    async with start_gateway(manifest("05-keys")) as gateway:
        assert (await gateway.post(question("Hi  there!", seed=1))).headers["X-LLMCache"] == "MISS"
        assert (await gateway.post(question("hi there", seed=2.0))).headers["X-LLMCache"] == "HIT"
        assert (await gateway.post(question("hi, there", seed=1))).headers["X-LLMCache"] == "MISS"


async def test_warming_example_has_the_answers_to_its_list_before_clients_ask(start_gateway: StartGateway) -> None:
    file = EXAMPLES / "09-warming" / "requests.jsonl"
    async with start_gateway(manifest("09-warming")) as gateway:
        for stored, there in ((3, 0), (0, 3)):
            code, out, _ = await finish(await start("warm", "--url", gateway.url, "--requests", str(file)))
            assert (code, out) == (0, f"{stored} stored, {there} already there, 0 failed\n")


async def test_kubernetes_example_runs_by_itself_too_and_says_what_is_not_in_force(
    start_gateway: StartGateway, capfd: pytest.CaptureFixture[str]
) -> None:
    async with start_gateway(manifest("12-kubernetes")) as gateway:
        assert [(await gateway.post(question())).headers["X-LLMCache"] for _ in range(2)] == ["MISS", "HIT"]
    assert "not in force without an operator: spec.gateway" in capfd.readouterr().out


async def test_rollout_example_takes_a_version_over_at_once_without_an_operator_and_says_so(
    start_gateway: StartGateway, redis_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with start_gateway(manifest("17-rollout"), redis_url=redis_url) as gateway:
        assert (await gateway.post(question())).headers["X-LLMCache-Prefix"] == "rollout:prompt-v1"
    assert "not in force without an operator: spec.redis.managed, spec.rollout" in capfd.readouterr().out
    lines = (EXAMPLES / "17-rollout" / "requests.jsonl").read_bytes()
    assert lines == (EXAMPLES / "09-warming" / "requests.jsonl").read_bytes()


async def test_hooks_example_builds_keys_and_decides_what_is_stored(
    start_gateway: StartGateway, capfd: pytest.CaptureFixture[str]
) -> None:
    hooks = EXAMPLES / "11-hooks" / "hooks"
    async with start_gateway(manifest("11-hooks"), hooks=hooks) as gateway:
        texts = ("Hi there", "hi THERE", "a secret", "a secret")
        answers = [await gateway.post(question(text)) for text in texts]
        assert [answer.headers["X-LLMCache"] for answer in answers] == ["MISS", "HIT", "MISS", "MISS"]
        assert 590 < int(answers[1].headers["Cache-Status"].split("ttl=")[1].split(";")[0]) <= 600
        assert await gateway.metric('llmcache_store_skipped_total{reason="vetoed"}') == 2
    assert "m answered 200" in capfd.readouterr().out


async def test_replicas_example_makes_one_call_over_two_gateways(start_gateway: StartGateway, redis_url: str) -> None:
    config = manifest("06-coalescing", "replicas.yaml")
    async with start_gateway(config, redis_url=redis_url) as one, start_gateway(config, redis_url=redis_url) as other:
        first = asyncio.create_task(one.post(question("Hi there", stream=True)))
        await asyncio.sleep(0.5)
        second = await other.post(question("Hi there", stream=True))
        assert second.headers["Cache-Status"].startswith("llmcache; fwd=miss; collapsed")
        assert second.text == (await first).text


async def test_hint_experiment_example_marks_a_fifth_of_the_prompts_for_an_hour(start_gateway: StartGateway) -> None:
    async with running_anthropic() as provider:
        config = manifest("26-hint-experiment")
        config["spec"]["upstreams"][0] |= {"baseURL": provider.base_url}
        async with start_gateway(config, environment={"ANTHROPIC_API_KEY": "k"}) as gateway:
            for number in range(15):
                for text in ("Hi", "Ho"):
                    system = f"You are bot {number}. " + "Know all about caches. " * 200
                    body = {"model": "claude-sonnet-5-5", "max_tokens": 9, "system": system}
                    asked = body | {"messages": [{"role": "user", "content": text}]}
                    await gateway.post(asked, "/v1/messages", headers={"anthropic-version": "2026-10-21"})
            async with httpx.AsyncClient() as client:
                told = (await client.get(f"{gateway.admin_url}/admin/v1/stats", headers=ADMIN)).json()
    sides = told["policies"]["default"]["hints"]
    marks = [call["body"]["system"][0]["cache_control"].get("ttl", "5m") for call in provider.calls[1::2]]
    assert {marks.count("5m"), marks.count("1h")} == {sides["main"]["hinted"], sides["alternative"]["hinted"]}
    assert 0 < sides["alternative"]["calls"] < sides["main"]["calls"]


async def test_savings_example_counts_tokens_and_money(start_gateway: StartGateway) -> None:
    async with start_gateway(manifest("25-savings")) as gateway:
        answers = [await gateway.post(question()) for _ in range(3)]
        taken = answers[0].json()["usage"]
        async with httpx.AsyncClient() as client:
            told = (await client.get(f"{gateway.admin_url}/admin/v1/stats", headers=ADMIN)).json()
        stats = told["versions"]["v1"]
        assert stats["savedTokens"]["input"] == 2 * taken["prompt_tokens"] > 0
        cost = taken["prompt_tokens"] * 2.5e-6 + taken["completion_tokens"] * 10e-6
        assert stats["savedUSD"] == pytest.approx(2 * cost)
        assert await gateway.metric("llmcache_saved_usd_total") == pytest.approx(2 * cost)
