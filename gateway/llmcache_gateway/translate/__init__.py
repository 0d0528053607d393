"""Chat completions for models that speak Anthropic's messages: requests, answers and streams of one as the other.

Formats: OpenAI's chat completions as the openai SDK's types have them, and LiteLLM's members on top of them
(`cache_control` on messages, `thinking_blocks`, `top_k`); Anthropic's messages as the anthropic SDK's types have them.
"""
