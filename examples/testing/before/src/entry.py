"""Answers questions about a product's documentation, word by word, and remembers what it answered."""

import asyncio
import json
from urllib.parse import urlsplit

from workers import Response, WorkerEntrypoint

CHAT = "@cf/meta/llama-3.2-1b-instruct"
EMBEDDINGS = "@cf/baai/bge-base-en-v1.5"
ATTEMPTS = 3


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = urlsplit(request.url).path
        if path == "/asked":
            return Response.json(await self.asked())
        if path != "/ask" or request.method != "POST":
            return Response("Not found", status=404)
        question = (await request.json())["question"].strip()
        known = await self.env.CACHE.get(question)
        if known is not None:
            return Response(known, headers={"content-type": "text/plain", "x-cache": "hit"})
        messages = [
            {"role": "system", "content": "Answer from these notes:\n" + "\n".join(await self.notes(question))},
            {"role": "user", "content": question},
        ]
        stream, attempts = await self.answer(messages)
        to_client, to_memory = stream.tee()
        self.ctx.waitUntil(self.remember(question, to_memory, attempts))
        return Response(to_client, headers={"content-type": "text/event-stream"})

    async def notes(self, question):
        """What the documentation says nearest to the question."""
        embedded = await self.env.AI.run(EMBEDDINGS, {"text": [question]})
        found = await self.env.DOCS.query(embedded["data"][0], {"topK": 2, "returnMetadata": "all"})
        return [match["metadata"]["text"] for match in found["matches"]]

    async def answer(self, messages):
        """The stream of the answer, and how often the model was asked for it."""
        inputs = {"messages": messages, "stream": True}
        for attempt in range(1, ATTEMPTS):
            try:
                return await self.env.AI.run(CHAT, inputs), attempt
            except Exception as error:
                if "429" not in str(error):
                    raise
                await asyncio.sleep(0.01 * attempt)
        return await self.env.AI.run(CHAT, inputs), ATTEMPTS

    async def remember(self, question, stream, attempts):
        """Keep the answer for the next who asks, and log it."""
        answer = ""
        reader = stream.getReader()
        while not (chunk := await reader.read()).done:
            for line in bytes(chunk.value).decode().splitlines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    answer += json.loads(line.removeprefix("data: "))["response"]
        await self.env.CACHE.put(question, answer)
        row = self.env.LOG.prepare("INSERT INTO asked VALUES (?, ?, ?)").bind(question, answer, attempts)
        await row.run()

    async def asked(self):
        rows = await self.env.LOG.prepare("SELECT question, answer, attempts FROM asked").all()
        return rows["results"]
