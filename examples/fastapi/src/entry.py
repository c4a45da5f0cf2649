import asgi
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from pyodide.ffi import JsException
from workers import WorkerEntrypoint

MODEL = "@cf/meta/llama-3.2-1b-instruct"

app = FastAPI(title="Questions and answers")


class Question(BaseModel):
    prompt: str = Field(min_length=1, max_length=2000)
    max_tokens: int = Field(default=256, ge=1, le=1024)


class Answer(BaseModel):
    response: str


@app.post("/ask")
async def ask(question: Question, env=asgi.env) -> Answer:
    """The whole answer at once."""
    try:
        result = await env.AI.run(MODEL, question.model_dump())
    except JsException as error:
        raise HTTPException(502, str(error)) from error
    return Answer(response=result["response"])


@app.post("/stream")
async def stream(question: Question, env=asgi.env) -> StreamingResponse:
    """The answer as it is written. A client that leaves stops the model."""
    events = await env.AI.run(MODEL, {**question.model_dump(), "stream": True})
    return StreamingResponse((event.to_bytes() async for event in events), media_type="text/event-stream")


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return await asgi.fetch(app, request, self.env, self.ctx)
