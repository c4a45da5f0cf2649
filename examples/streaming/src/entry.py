from workers import Response, WorkerEntrypoint

from cfai import Ai


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        ai = Ai(self.env.AI, session_options={"ctx": self.ctx})
        stream = await ai.run(
            "@cf/meta/llama-2-7b-chat-int8",
            {"prompt": "where is new york?", "stream": True},
        )
        return Response(stream, headers={"content-type": "text/event-stream"})
