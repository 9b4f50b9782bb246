"""Answers of a language model, made from documents: kept until one of the documents changes.

    uvicorn --app-dir docs/examples rag:app

An answer costs seconds and money, so one worker asks for it while others wait, and it is kept for a
day. Which documents it was made from is known only when it is there: its tags are read from it. Who
changes a document writes inside `cache.writing(...)`: every answer made from the old text is gone,
those being made just now included, and none can come back.
"""

import os

from fastapi import FastAPI
from pydantic import BaseModel

from cachemw import Cache, Store, open_store


class Answer(BaseModel):
    text: str
    sources: list[str]


class Library:
    """Stands for your documents and your model."""

    def __init__(self) -> None:
        self.documents = {"redis": "Redis keeps data in memory.", "tea": "Tea needs hot water."}
        self.asked = 0

    def search(self, question: str) -> list[str]:
        words = set(question.lower().replace("?", "").split())
        return [name for name in sorted(self.documents) if name in words]

    async def ask_model(self, question: str, sources: list[str]) -> str:
        self.asked += 1
        return " ".join(self.documents[name] for name in sources) or "I do not know."


def normalised(question: str) -> str:
    return " ".join(question.lower().split())


def make_app(store: Store) -> FastAPI:
    app = FastAPI()
    cache = Cache(store)
    library = app.state.library = Library()

    def documents_of(answer: Answer) -> list[str]:
        # A new document may be the answer to what had none: those answers share a tag, too.
        return [f"doc:{name}" for name in answer.sources] or ["unanswered"]

    @cache.memoize("24h", tags=documents_of, timeout="60s", lease_wait="60s")
    async def answer_to(question: str) -> Answer:
        sources = library.search(question)
        return Answer(text=await library.ask_model(question, sources), sources=sources)

    @app.get("/answers")
    async def answer(question: str) -> Answer:
        return await answer_to(normalised(question))

    @app.put("/documents/{name}")
    async def change(name: str, text: str) -> None:
        async with cache.writing(tags=[f"doc:{name}", "unanswered"]):
            library.documents[name] = text

    return app


app = make_app(open_store(os.environ.get("CACHEMW_STORE", "memory://")))
