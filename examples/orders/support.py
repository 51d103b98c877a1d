"""The backend for support: takes questions, and pushes answers to whoever has asked."""

import json
import os
from itertools import count
from threading import Timer
from typing import Any
from urllib.request import Request, urlopen

from flask import Flask, Response, abort, g, request
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

API = os.environ["API"]
TOKEN = os.environ["SUPPORT_TOKEN"]

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 2_000_000
webhook = Webhook(os.environ["SUPPORT_SECRET"])
numbers = count(1)


# What the gateway asks


@app.before_request
def verify() -> None:
    """Let nobody else ask."""
    try:
        g.told = webhook.verify(request.get_data(), dict(request.headers))
    except WebhookVerificationError:
        abort(401)


@app.post("/")
def probe() -> Response:
    """Answer `sockgw backends probe support`."""
    return Response(status=204)


@app.post("/support.ask")
def ask() -> dict[str, object] | Response:
    """Take a question; what is returned is the ack."""
    match g.told["args"]:
        case [str(text)] if text.strip():
            question = {"number": next(numbers), "text": text.strip()[:200]}
        case _:
            problem = {"code": "bad_request", "detail": "ask something"}
            return Response(json.dumps(problem), 422, mimetype="application/problem+json")
    Timer(1, answer, [g.told["socket"]["user"], g.told["id"], question]).start()
    return question


# What the gateway is asked


def answer(user: str, id: str, question: dict[str, object]) -> None:
    """Answer a question, a second later; `call` tells whether the customer has got it."""
    text = "Thank you for asking. Have you tried the cake?"
    body = {
        "target": {"namespace": "/shop", "users": [user]},
        "event": "support.answered",
        "args": [{**question, "answer": text}],
        "timeout": 5,
    }
    if not push("call", f"answer-{id}", body)["answers"]:
        app.logger.warning("%s is not there any more: write a letter", user)


def push(operation: str, key: str, body: object) -> dict[str, Any]:
    """Ask the gateway. Raises `OSError` if it refuses, or is not there."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": key}
    asked = Request(f"{API}/v1/{operation}", json.dumps(body).encode(), headers)
    with urlopen(asked, timeout=10) as found:
        answers: dict[str, Any] = json.load(found)
    return answers
