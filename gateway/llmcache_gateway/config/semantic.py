"""The semantic cache: which questions count as one although they are worded differently."""

from typing import Annotated, Final, Literal

from msgspec import Meta, field

from llmcache_gateway.config.model import Model, SecretRef, described
from llmcache_gateway.config.redis import PEM
from llmcache_gateway.config.rules import Rule
from llmcache_gateway.config.scalars import Duration, Name, Percent, seconds, share

SemanticMode = Literal["serve", "shadow"]
Verifier = Literal["none", "small", "large"]
SemanticAdmit = Literal["tools", "time-sensitive", "other-scripts"]

Similarity = Annotated[float, Meta(ge=0.0, le=1.0)]
Unsure = Annotated[float, Meta(ge=0.0, le=0.5)]
"""A score that no verifier which comes along serves from: each says yes from more than 0.5 on."""

Candidates = Annotated[int, Meta(ge=2, le=16)]
Admitted = Annotated[list[SemanticAdmit], Meta(max_length=3)]

DEFAULT_MODEL = "text-embedding-3-small"
"""The embedding model that an upstream is asked for where none is named."""


MAKERS: Final = ("openai", "azure", "openrouter", "mistral", "xai", "groq", "fireworks")
"""Providers that make vectors in OpenAI's shape."""

JUDGES: Final = (*MAKERS, "deepseek")
"""Providers whose models chat in that shape."""


class LocalEmbedding(Model, frozen=True, kw_only=True):
    """An embedding model that runs in the gateway."""

    path: Annotated[
        Annotated[str, Meta(min_length=1, max_length=1024)] | None,
        described(
            "Folder of the model: an ONNX transformer or static vectors, with their tokenizer. Without it, the small "
            "static model that comes with the gateway."
        ),
    ] = None


class Embedding(Model, frozen=True, kw_only=True):
    """What makes the vectors. Without `upstream` and `local`, the small static model that comes with the gateway."""

    RULES = (
        Rule(
            cel="!has(self.upstream) || !has(self.local)",
            holds=lambda e: e.upstream is None or e.local is None,
            message="an embedding is made by an upstream or by a local model: remove one of upstream and local",
            field="local",
        ),
        Rule(
            cel="has(self.upstream) || !(has(self.model) || has(self.dimensions))",
            holds=lambda e: e.upstream is not None or (e.model is None and e.dimensions is None),
            message="model and dimensions are what an upstream is asked for: name the upstream, or remove them",
            field="model",
        ),
    )

    upstream: Annotated[
        Name | None,
        described(
            f"Name of an upstream that serves embeddings and passes no client's credential on. Its provider is one of "
            f"{', '.join(f'`{one}`' for one in MAKERS)}."
        ),
    ] = None
    model: Annotated[
        Annotated[str, Meta(min_length=1, max_length=256)] | None,
        described(
            f"The embedding model that the upstream is asked for, at Azure a deployment. With provider `openai` it "
            f"may be left out: {DEFAULT_MODEL}."
        ),
    ] = None
    dimensions: Annotated[
        Annotated[int, Meta(ge=8, le=4096)] | None,
        described("Length of the vectors that the upstream is asked for; the model's own when left out."),
    ] = None
    local: Annotated[LocalEmbedding | None, described("An embedding model that runs in the gateway.")] = None


class QdrantLogin(Model, frozen=True, kw_only=True):
    """The API key of a Qdrant."""

    secret_ref: Annotated[SecretRef, described("Where the API key is.")]


class VectorIndex(Model, frozen=True, kw_only=True):
    """Where vectors are searched."""

    RULES = (
        Rule(
            cel="(self.type == 'qdrant') == has(self.url)",
            holds=lambda i: (i.type == "qdrant") == (i.url is not None),
            message="index type qdrant needs its address, and no other has one: set both type and url, or neither",
            field="url",
        ),
        Rule(
            cel="has(self.url) || !(has(self.collection) || has(self.credential) || has(self.ca))",
            holds=lambda i: i.url is not None or not (i.collection or i.credential or i.ca),
            message="collection, credential and ca are those of a Qdrant: set type: qdrant and its url, or remove them",
            field="collection",
        ),
        Rule(
            cel="!has(self.ca) || (has(self.url) && self.url.startsWith('https://'))",
            holds=lambda i: i.ca is None or (i.url or "").startswith("https://"),
            message="ca is for a url that begins with https://: remove it, or set that url",
            field="ca",
        ),
        Rule(
            cel="self.entriesPerTenant <= self.entries",
            holds=lambda i: i.entries_per_tenant <= i.entries,
            message="one tenant can't have more entries than all together: lower entriesPerTenant, or raise entries",
            field="entriesPerTenant",
        ),
    )

    type: Annotated[
        Literal["inProcess", "redisSearch", "qdrant"],
        described(
            "`inProcess`: in each replica's memory, kept in the cache's own store; `redisSearch`: in the Redis of "
            "`spec.redis`, which needs its search module; `qdrant`: in the Qdrant at `url`."
        ),
    ] = "inProcess"
    url: Annotated[
        Annotated[
            str,
            Meta(
                title="an address of HTTP",
                pattern=r"^https?://[^\s?#@]+$",
                max_length=512,
                examples=["https://qdrant.example:6333"],
            ),
        ]
        | None,
        described("Address of Qdrant's REST API, with its port: without one it is that of HTTP or HTTPS, not 6333."),
    ] = None
    collection: Annotated[
        Annotated[
            str,
            Meta(
                title="a name of letters, digits, '.', '_' and '-'",
                pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
                max_length=128,
                examples=["llmcache"],
            ),
        ]
        | None,
        described(
            "Collection of the vectors, made if it is not there. LLMCaches of one collection never meet. Without it, "
            "one named after the LLMCache and its embedding model."
        ),
    ] = None
    credential: Annotated[QdrantLogin | None, described("The API key. Without it, none is sent.")] = None
    ca: Annotated[
        PEM | None, described("Certificates of authorities to trust beside the system's, for a server of your own.")
    ] = None
    entries: Annotated[int, described("Most vectors kept; beyond it the oldest leave first.", ge=1, le=10_000_000)] = (
        100_000
    )
    entries_per_tenant: Annotated[
        int, described("Most vectors of one tenant, so that none fills the index.", ge=1, le=10_000_000)
    ] = 20_000


class Judge(Model, frozen=True, kw_only=True):
    """Decides afterwards whether a question that was almost served is the stored one: by the answers, or by a model."""

    RULES = (
        Rule(
            cel="has(self.upstream) == has(self.model)",
            holds=lambda j: (j.upstream is None) == (j.model is None),
            message="a model that judges is asked at an upstream: set both upstream and model, or neither",
            field="model",
        ),
        Rule(
            cel="has(self.upstream) || !has(self.tokensPerDay)",
            holds=lambda j: j.upstream is not None or j.tokens_per_day is None,
            message="comparing answers takes no tokens: name upstream and model, or remove tokensPerDay",
            field="tokensPerDay",
        ),
        Rule(
            cel="duration(self.deadline) > duration('0s') && duration(self.deadline) <= duration('120s')",
            holds=lambda j: 0 < seconds(j.deadline) <= 120,
            message="deadline must be longer than 0s and at most 120s, such as 10s",
            field="deadline",
        ),
    )

    upstream: Annotated[
        Name | None,
        described(
            "Name of an upstream that passes no client's credential on, whose model judges; its provider is one of "
            f"{', '.join(JUDGES)}. Without it, the new answer is compared with the stored one."
        ),
    ] = None
    model: Annotated[
        Annotated[str, Meta(min_length=1, max_length=256)] | None,
        described("The chat model that the upstream is asked for."),
    ] = None
    least_score: Annotated[
        Unsure,
        described("Least score of the verifier from which on a question is judged; less than any takes to be served."),
    ] = 0.3
    deadline: Annotated[Duration, described("Longest that one judgement may take. No request waits for it.")] = "10s"
    calls_per_minute: Annotated[int, described("Most judgements in a minute, of each gateway.", ge=1, le=6000)] = 10
    calls_per_day: Annotated[int, described("Most judgements in 24 hours, of each gateway.", ge=1, le=10_000_000)] = (
        1000
    )
    tokens_per_day: Annotated[
        Annotated[int, Meta(ge=1, le=100_000_000_000)] | None,
        described("Most tokens, of questions and answers, that judging takes in 24 hours, of each gateway."),
    ] = None


LEAST_BOUND: Final = 0.0005
"""Least share of wrong hits that so many samples as are kept can show."""


class Semantic(Model, frozen=True, kw_only=True):
    """Answers questions that mean the same as one that was answered. All but the last user turn must be equal."""

    RULES = (
        Rule(
            cel="!has(self.maxFalseHitRate) || !self.maxFalseHitRate.matches('^0+([.]0([0-4][0-9]*)?)?%$')",
            holds=lambda s: s.max_false_hit_rate is None or share(s.max_false_hit_rate) >= LEAST_BOUND,
            message="maxFalseHitRate must be at least 0.05%: 2000 samples count, which can show no less; for no wrong "
            "hit at all set enabled: false",
            field="maxFalseHitRate",
        ),
        Rule(
            cel="!has(self.sample) || (has(self.maxFalseHitRate) && self.sample.matches('[1-9]'))",
            holds=lambda s: s.sample is None or (s.max_false_hit_rate is not None and share(s.sample) > 0),
            message="sample is of hits that maxFalseHitRate bounds: set both, sample above 0%, or remove it",
            field="sample",
        ),
        Rule(
            cel="duration(self.deadline) > duration('0s') && duration(self.deadline) <= duration('5s')",
            holds=lambda s: 0 < seconds(s.deadline) <= 5,
            message="deadline must be longer than 0s and at most 5s, such as 300ms",
            field="deadline",
        ),
        Rule(
            cel="!has(self.judge) || self.verifier != 'none'",
            holds=lambda s: s.judge is None or s.verifier != "none",
            message="what is judged is what a verifier is not sure of: set verifier small or large, or remove judge",
            field="judge",
        ),
    )

    enabled: Annotated[
        bool | None,
        described(
            "Whether questions that mean the same share an answer; not, when left out. Settings beside it need it, or "
            "that of a policy; `false`, written out, keeps them for later."
        ),
    ] = None
    mode: Annotated[
        SemanticMode,
        described(
            "`shadow`: look, decide and count, but answer as if there were no semantic cache; what would have been "
            "served is compared with what came."
        ),
    ] = "serve"
    threshold: Annotated[
        Similarity | None,
        described(
            "Least cosine similarity of two questions, from 0 to 1; higher is stricter. When left out, 0.92; with a "
            "verifier, what was measured for the embedding model."
        ),
    ] = None
    max_false_hit_rate: Annotated[
        Percent | None,
        described(
            "Bound on the share of wrong hits. A sample of the hits is asked again in the background; when that shows "
            "more, the policy's threshold rises, in the end until only equal requests are served."
        ),
    ] = None
    sample: Annotated[
        Percent | None,
        described(
            "Share of the hits that are asked again, at the provider's price; 5% when left out. With mode `shadow` "
            "nobody is asked again: there it only bounds for how many an embedding upstream is asked."
        ),
    ] = None
    embedding: Annotated[Embedding, described("What makes the vectors.")] = field(default_factory=Embedding)
    index: Annotated[VectorIndex, described("Where vectors are searched.")] = field(default_factory=VectorIndex)
    deadline: Annotated[
        Duration,
        described("Longest that all of a look-up may hold a request up; after it the provider is asked."),
    ] = "300ms"
    candidates: Annotated[Candidates, described("How many nearest neighbours are considered.")] = 4
    guards: Annotated[
        bool,
        described(
            "Refuse a neighbour that differs in a number, unit, date, identifier, sign, accent, quote, code, name, "
            "negation, opposite, direction, order or question word. `false` leaves the similarity and the verifier."
        ),
    ] = True
    verifier: Annotated[
        Verifier,
        described(
            "A learned model that compares two questions, asked when a neighbour passed the threshold and the guards: "
            "`small`, 1.3 to 2 ms a pair on one core; `large`, two and a half times as long, which serves more; `none`."
        ),
    ] = "small"
    judge: Annotated[
        Judge | None,
        described(
            "Decides in the background, once a question has been answered, whether it is one that the verifier almost "
            "took it for; if so, it is answered like that from then on. Without it, nothing is judged."
        ),
    ] = None
    admit: Annotated[
        Admitted,
        described(
            "Questions that are matched although it is risky: with `tools` in reach, with words of time, or in "
            "`other-scripts` than Latin, which take an embedding model that knows them."
        ),
    ] = field(default_factory=list)


class SemanticOverride(Model, frozen=True, kw_only=True):
    """What a policy changes of `spec.semantic`. What it does not name stays."""

    enabled: Annotated[bool | None, described("As in spec.semantic.")] = None
    mode: Annotated[SemanticMode | None, described("As in spec.semantic.")] = None
    threshold: Annotated[Similarity | None, described("As in spec.semantic.")] = None
    candidates: Annotated[Candidates | None, described("As in spec.semantic.")] = None
    guards: Annotated[bool | None, described("As in spec.semantic.")] = None
    verifier: Annotated[Verifier | None, described("As in spec.semantic.")] = None
    admit: Annotated[Admitted | None, described("As in spec.semantic.")] = None
