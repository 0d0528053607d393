"""Ask a gateway on this machine three times, with AWS's own SDK: once it asks its upstream, twice it need not."""

import sys

import boto3
from botocore import UNSIGNED
from botocore.config import Config

bedrock = boto3.client(
    "bedrock-runtime",
    endpoint_url=sys.argv[1] if sys.argv[1:] else "http://localhost:4000",
    region_name="eu-central-1",
    config=Config(signature_version=UNSIGNED),  # the gateway signs
)
bedrock.meta.events.register(
    "before-send.bedrock-runtime", lambda request, **_: request.headers.update({"x-api-key": "sk-of-this-client"})
)
question = {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "Hi there"}]}]}
for _ in range(2):
    answer = bedrock.converse(**question)
    print(answer["ResponseMetadata"]["HTTPHeaders"]["x-llmcache"], answer["output"]["message"]["content"][0]["text"])
answer = bedrock.converse_stream(**question)
events = [event["contentBlockDelta"]["delta"]["text"] for event in answer["stream"] if "contentBlockDelta" in event]
print(answer["ResponseMetadata"]["HTTPHeaders"]["x-llmcache"], "".join(events))
