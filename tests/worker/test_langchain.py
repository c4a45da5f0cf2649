"""langchain-cloudflare in a Worker, with `binding=env.AI`."""

import json

from tests.worker.conftest import Workers

MODEL = "@cf/meta/llama-3.1-8b-instruct"

SCRIPT = f"""
from langchain_cloudflare import ChatCloudflareWorkersAI
from langchain_core.tools import tool
from workers import Response, WorkerEntrypoint

@tool
def get_weather(city: str) -> str:
    "The weather of a city."
    return f"It rains in {{city}}."

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        model = ChatCloudflareWorkersAI(model_name="{MODEL}", binding=self.env.AI)
        if request.url.endswith("/batch"):
            return Response.json([answer.content for answer in await model.abatch(["one", "two"])])
        answer = await model.bind_tools([get_weather]).ainvoke("the weather of Oslo?")
        return Response(get_weather.invoke(answer.tool_calls[0]["args"]))
"""


async def test_it_chats_and_calls_tools(worker: Workers) -> None:
    client = worker(SCRIPT)
    worker.fake.answers[MODEL] = ["New", " York"]
    assert json.loads((await client.get("/batch")).text) == ["New York", "New York"]
    call = {"name": "get_weather", "arguments": {"city": "Oslo"}}
    worker.fake.answers[MODEL] = {"response": None, "tool_calls": [call]}
    assert (await client.get("/tools")).text == "It rains in Oslo."
    assert worker.fake.calls[-1].inputs["tools"][0]["function"]["name"] == "get_weather"
