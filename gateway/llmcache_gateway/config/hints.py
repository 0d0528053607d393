"""Provider hints: what providers and models take, as the shipped table and a manifest's overrides say it."""

from typing import Annotated, Literal

from msgspec import Meta, field

from llmcache_gateway.config.model import Model, described
from llmcache_gateway.config.rules import Rule
from llmcache_gateway.config.scalars import Duration, Name, seconds

HintMode = Literal["always", "onRepeat", "off"]

Hint = Literal[
    "cache_control", "cachePoint", "prompt_cache_breakpoint", "prompt_cache_key", "x-grok-conv-id", "cachedContent"
]
"""How a provider is told what to keep, by the name it has on the wire."""

HintTTL = Literal["5m", "30m", "1h", "12h"]
"""How long providers keep a marked prefix, as they write it themselves."""

Multiplier = Annotated[
    str,
    Meta(
        title="a multiple of the price of an input token, as a text",
        pattern=r"^[0-9]{1,3}(\.[0-9]{1,5})?$",
        max_length=16,
        examples=['"0.1"', '"1.25"'],
    ),
]
"""What a token costs in multiples of an uncached input token of the same model."""


class WritePrices(Model, frozen=True, kw_only=True):
    """What a token costs that the provider keeps, by how long it does. Without one it costs what others cost: 1."""

    for_5m: Annotated[Multiplier | None, described("Kept for five minutes.")] = field(default=None, name="5m")
    for_30m: Annotated[Multiplier | None, described("Kept for half an hour.")] = field(default=None, name="30m")
    for_1h: Annotated[Multiplier | None, described("Kept for an hour.")] = field(default=None, name="1h")
    for_12h: Annotated[Multiplier | None, described("Kept for twelve hours.")] = field(default=None, name="12h")


class Prices(Model, frozen=True, kw_only=True):
    """What cached input costs, in multiples of an uncached input token of the same model."""

    read: Annotated[Multiplier, described("A token that the provider had already.")]
    write: Annotated[WritePrices, described("A token that it keeps.")] = field(default_factory=WritePrices)
    storage: Annotated[
        Multiplier | None, described("A token of a cached content, for each hour that it is kept. Without it, nothing.")
    ] = None


CAPABILITY_FIELDS = ("family", "hints", "minimum_tokens", "markers", "texts_only", "ttls", "prices")
"""What a row may say of the models that it is about."""


class CapabilityRow(Model, frozen=True, kw_only=True):
    """What some models take at some providers. What it does not say is taken from the next row that matches."""

    RULES = (
        Rule(
            cel="has(self.family) || has(self.hints) || has(self.minimumTokens) || has(self.markers) || "
            "has(self.ttls) || has(self.prices)",
            holds=lambda row: any(
                value is not None
                for value in (row.family, row.hints, row.minimum_tokens, row.markers, row.ttls, row.prices)
            ),
            message="a row that says nothing has no effect: set family, hints, minimumTokens, markers, ttls or prices",
        ),
    )

    providers: Annotated[
        list[Name],
        described("Kinds of provider, as `provider` of an upstream names them. Without any, all.", max_length=8),
    ] = field(default_factory=list)
    models: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=128)]],
        described(
            "Patterns of model names; `*` stands for anything, and a dot and a dash are the same.",
            min_length=1,
            max_length=64,
        ),
    ]
    family: Annotated[
        Annotated[str, Meta(min_length=1, max_length=128)] | None,
        described(
            "The model that these are, where their name does not say so: that of an Azure deployment, or an alias. "
            "The rows behind this one are looked for under that name."
        ),
    ] = None
    hints: Annotated[
        Annotated[list[Hint], Meta(max_length=8)] | None,
        described(
            "Which hints it takes; of several, the first that the request's API has is used. An empty list: none."
        ),
    ] = None
    minimum_tokens: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)] | None,
        described("Shortest prefix that the provider keeps, in tokens."),
    ] = None
    markers: Annotated[
        Annotated[int, Meta(ge=0, le=64)] | None,
        described("Most markers that one request may have."),
    ] = None
    texts_only: Annotated[
        bool | None,
        described("Whether marks may stand behind texts only: not behind tools, images or results of tools."),
    ] = None
    ttls: Annotated[
        Annotated[list[HintTTL], Meta(max_length=4)] | None,
        described("For how long a prefix can be kept; the first is what holds where nothing is said."),
    ] = None
    prices: Annotated[Prices | None, described("What cached input costs.")] = None


class HintPoint(Model, frozen=True, kw_only=True):
    """A place in requests up to which the provider is to keep the prompt."""

    RULES = (
        Rule(
            cel="self.location != 'message' || has(self.role) || has(self.index)",
            holds=lambda p: p.location != "message" or p.role is not None or p.index is not None,
            message="which message is meant: set role or index, such as index: -1 for the last one",
        ),
        Rule(
            cel="self.location == 'message' || !(has(self.role) || has(self.index))",
            holds=lambda p: p.location == "message" or (p.role is None and p.index is None),
            message="role and index have an effect with location: message only: remove them",
        ),
    )

    location: Annotated[
        Literal["system", "tools", "message"],
        described(
            "The end of the system prompt, of the tools, or of a message. Providers read tools first, then the system "
            "prompt, then the messages, and keep all that comes before the place too."
        ),
    ]
    role: Annotated[
        Literal["system", "developer", "user", "assistant", "tool"] | None,
        described("Only messages of this role count. Without index, the last of them is meant."),
    ] = None
    index: Annotated[
        Annotated[int, Meta(ge=-1000, le=1000)] | None,
        described("Which message: 0 is the first, -1 the last; of those with the role, where one is set."),
    ] = None


Points = Annotated[list[HintPoint], Meta(max_length=4)]


class HintsOverride(Model, frozen=True, kw_only=True):
    """What a policy or an experiment changes of `spec.hints`. What it does not name stays; without hints, it is off."""

    RULES = (
        Rule(
            cel="has(self.mode) || has(self.points) || has(self.ttl)",
            holds=lambda hints: not (hints.mode is None and hints.points is None and hints.ttl is None),
            message="hints that change nothing have no effect: set mode, points or ttl",
        ),
    )

    mode: Annotated[HintMode | None, described("As in spec.hints.")] = None
    points: Annotated[Points | None, described("As in spec.hints; all of them.")] = None
    ttl: Annotated[HintTTL | None, described("As in spec.hints.")] = None


class HintExperiment(Model, frozen=True, kw_only=True):
    """Other hints for a share of the prompts, so that what each brings can be compared."""

    percent: Annotated[
        int,
        described("Share of the prompts, by how they begin: those that begin alike are on one side.", ge=1, le=99),
    ]
    alternative: Annotated[HintsOverride, described("What these are given instead.")]


def _can_be_kept(duration: str) -> bool:
    return "d" not in duration and 60 <= seconds(duration) <= 86400


class CachedContents(Model, frozen=True, kw_only=True):
    """The explicit caches of Gemini and Vertex AI, which cost by the hour: when the gateways make and delete them."""

    RULES = (
        Rule(
            cel="!self.ttl.contains('d') && duration(self.ttl) >= duration('1m') && "
            "duration(self.ttl) <= duration('24h')",
            holds=lambda contents: _can_be_kept(contents.ttl),
            message="ttl must be from 1m to 24h, in hours, minutes and seconds, such as 10m",
            field="ttl",
        ),
        Rule(
            cel="!self.idle.contains('d') && duration(self.idle) >= duration('1m') && "
            "duration(self.idle) <= duration('24h')",
            holds=lambda contents: _can_be_kept(contents.idle),
            message="idle must be from 1m to 24h, in hours, minutes and seconds, such as 5m",
            field="idle",
        ),
    )

    after: Annotated[
        int,
        described(
            "How many requests must have begun alike, none `idle` or longer after the one before, until their "
            "beginning is kept.",
            ge=2,
            le=1000,
        ),
    ] = 3
    ttl: Annotated[
        Duration,
        described(
            "For how long the provider keeps it, and is paid, if no gateway is left to say otherwise. While requests "
            "use it, it is renewed when half of that is left."
        ),
    ] = "10m"
    idle: Annotated[Duration, described("It is deleted once no request has used it for so long.")] = "5m"
    limit: Annotated[
        int,
        described("Most that one gateway uses at a time; what further requests begin with is not kept.", ge=1, le=1000),
    ] = 100


def _is_of_contents(row: CapabilityRow) -> bool:
    return "cachedContent" in (row.hints or ()) or (row.prices is not None and row.prices.storage is not None)


class Hints(Model, frozen=True, kw_only=True):
    """What is added to requests on their way upstream, so that the provider keeps their prompts' beginnings."""

    RULES = (
        Rule(
            cel="self.mode != 'always' || size(self.points) > 0",
            holds=lambda hints: hints.mode != "always" or bool(hints.points),
            message="mode always needs to know the places: set points, such as points: [{location: system}]",
            field="points",
        ),
        Rule(
            cel="!has(self.experiment) || !has(self.experiment.alternative.mode) || "
            "self.experiment.alternative.mode != 'always' || size(self.points) > 0 || "
            "(has(self.experiment.alternative.points) && size(self.experiment.alternative.points) > 0)",
            holds=lambda hints: (
                hints.experiment is None
                or hints.experiment.alternative.mode != "always"
                or bool(hints.points or hints.experiment.alternative.points)
            ),
            message="the alternative's mode always needs to know the places: set its points, or those beside it",
            field="experiment",
        ),
        Rule(
            cel="!has(self.experiment) || has(self.experiment.alternative.points) || "
            "has(self.experiment.alternative.ttl) || !has(self.experiment.alternative.mode) || "
            "self.experiment.alternative.mode != self.mode",
            holds=lambda hints: (
                hints.experiment is None
                or hints.experiment.alternative.points is not None
                or hints.experiment.alternative.ttl is not None
                or hints.experiment.alternative.mode != hints.mode
            ),
            message="the experiment's alternative is what holds anyway: set another mode, points or ttl",
            field="experiment",
        ),
        Rule(
            cel="has(self.cachedContents) || !self.capabilities.exists(c, "
            "(has(c.hints) && 'cachedContent' in c.hints) || (has(c.prices) && has(c.prices.storage)))",
            holds=lambda hints: hints.cached_contents is not None or not any(map(_is_of_contents, hints.capabilities)),
            message="cachedContent and prices.storage have no effect without cachedContents: set it, or remove them",
            field="capabilities",
        ),
    )

    mode: Annotated[
        HintMode,
        described(
            "`onRepeat`: a prefix is marked once it came before, within the time that the provider keeps it; `always`: "
            'at every request; `"off"`, in quotes, which YAML needs: never, unless a policy says otherwise.'
        ),
    ] = "onRepeat"
    points: Annotated[
        Points,
        described("The places. Without any, they are chosen by which prefixes came before. The first ones count most."),
    ] = field(default_factory=list)
    ttl: Annotated[
        HintTTL | None,
        described("For how long the provider is to keep it, where it lets one choose. Without it, its shortest."),
    ] = None
    experiment: Annotated[
        HintExperiment | None,
        described("Other hints for a share of the prompts. `GET /admin/v1/stats` shows what both sides bring."),
    ] = None
    cached_contents: Annotated[
        CachedContents | None,
        described(
            "Explicit caches of Gemini and Vertex AI for what many requests begin with. Without it, none is made: they "
            "cost by the hour."
        ),
    ] = None
    capabilities: Annotated[
        list[CapabilityRow],
        described(
            "What providers and models take, where the gateway's own table is wrong or says nothing.", max_length=32
        ),
    ] = field(default_factory=list)
