"""Libraries that use D1 and Vectorize through their bindings, as their users write it."""

import datetime
import json
from typing import Any

import pytest

from cfai.config import D1Database, VectorizeIndex
from tests.worker.conftest import Workers

DATES = [datetime.date(2025, 10, 1), datetime.date(2026, 6, 1)]
HANDLER = """
import json
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response(json.dumps(await answer(self.env)))
"""


async def ask(worker: Workers, script: str, date: datetime.date, **changes: Any) -> Any:
    response = await worker(script + HANDLER, compatibility_date=date, **changes).get("/")
    assert response.status == 200, response.text
    return json.loads(response.text)


SQLALCHEMY = """
from sqlalchemy import String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy_cloudflare_d1 import create_engine_from_binding

class Base(DeclarativeBase):
    pass

class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    score: Mapped[float | None]

async def answer(env):
    engine = create_engine_from_binding(env.DB)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([User(name="ann", score=1.5), User(name="bob", score=None)])
        session.commit()
        found = session.scalars(select(User).where(User.name.like("%n%")).order_by(User.id)).all()
        everybody = session.execute(select(User.id, User.name, User.score).order_by(User.id)).all()
    return [[one.name for one in found], [list(row) for row in everybody]]
"""


@pytest.mark.parametrize("date", DATES)
async def test_sqlalchemy(worker: Workers, date: datetime.date) -> None:
    pytest.importorskip("sqlalchemy_cloudflare_d1")
    database = D1Database("DB", "some-id", "main")
    found = await ask(worker, SQLALCHEMY, date, d1_databases=(database,))
    assert found == [["ann"], [[1, "ann", 1.5], [2, "bob", None]]]


LANGCHAIN = """
from langchain_cloudflare import CloudflareVectorize, CloudflareWorkersAIEmbeddings

async def answer(env):
    embeddings = CloudflareWorkersAIEmbeddings(model_name="@cf/baai/bge-base-en-v1.5", binding=env.AI)
    store = CloudflareVectorize(embedding=embeddings, binding=env.INDEX)
    ids = await store.aadd_texts(["a cat", "a dog"], [{"kind": "cat"}, {"kind": "dog"}], ids=["1", "2"])
    near = await store.asimilarity_search_with_score("cat", k=2)
    filtered = {"k": 2, "md_filter": {"kind": "dog"}, "return_metadata": "all"}
    dogs = [one for one, _ in await store.asimilarity_search_with_score("cat", **filtered)]
    await store.adelete(["1"])
    left = [one for one, _ in await store.asimilarity_search_with_score("cat", k=2)]
    return [[one.id for one, _ in near], [score for _, score in near],
            [one.metadata["kind"] for one in dogs], [one.id for one in left]]
"""


@pytest.mark.parametrize("date", DATES)
async def test_langchain(worker: Workers, date: datetime.date) -> None:
    def embed(call: Any) -> Any:
        texts = call.inputs["text"]
        vectors = [[float("cat" in text), float("dog" in text), 0.5] for text in texts]
        return {"shape": [len(vectors), 3], "data": vectors}

    worker.fake.answers["@cf/baai/bge-base-en-v1.5"] = embed
    found = await ask(worker, LANGCHAIN, date, vectorize=(VectorizeIndex("INDEX", "docs"),))
    assert found == [["1", "2"], pytest.approx([1.0, 0.2]), ["dog"], ["2"]]
