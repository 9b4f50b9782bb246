"""Verifying an e-mail address, by a link that works once.

    uvicorn --app-dir docs/examples verification:app

The link holds a token of 256 random bits; what is kept of it is a digest, with an end. Opening the
link only shows a form: mail scanners open links, too. The form posts, and that consumes the token,
once, whoever comes with it at the same time. How often somebody may ask for a mail is a matter of
rate limits, which are here as well.
"""

import os
from urllib.parse import parse_qs

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse

from cachemw import RateLimit, RateLimitMiddleware, Store, Tokens, client_ip, open_store

FORM = """<form method="post" action="/verify">
<input type="hidden" name="token" value="{token}"><button>Yes, this is my address</button></form>"""


def make_app(store: Store) -> FastAPI:
    app = FastAPI()
    app.add_middleware(RateLimitMiddleware, store=store)
    tokens = Tokens(store, purpose="verify-email", ttl="24h")
    outbox = app.state.outbox = []  # stands for your mail server
    verified = app.state.verified = set()  # and this for your database

    mails = RateLimit("5/hour", name="verification-mails", by=client_ip)

    @app.post("/register", status_code=202, dependencies=[Depends(mails)])
    async def register(email: str) -> str:
        token = await tokens.issue(email)
        outbox.append((email, f"https://app.example/verify?token={token}"))
        return "look into your mail"

    @app.get("/verify")
    async def look(token: str) -> HTMLResponse:
        safe = "".join(char for char in token if char.isalnum() or char in "-_")
        headers = {"referrer-policy": "no-referrer", "cache-control": "no-store"}
        return HTMLResponse(FORM.format(token=safe), headers=headers)

    @app.post("/verify")
    async def verify(request: Request) -> str:
        form = parse_qs((await request.body()).decode("ascii", "replace"))
        email = await tokens.consume(form.get("token", [""])[0])
        if email is None:
            raise HTTPException(400, "this link was used already, or has ended: ask for another")
        verified.add(email)
        return f"{email} is verified"

    return app


app = make_app(open_store(os.environ.get("CACHEMW_STORE", "memory://")))
