"""Every answer's size is printed."""

from llmcache_gateway.hooks import Response


async def post_response(response: Response) -> None:
    print(f"{response.model} answered {response.status}, {len(str(response.answer))} characters", flush=True)
