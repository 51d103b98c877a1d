"""Answers as bytes."""

from __future__ import annotations

from gateway.http import response
from gateway.http.response import Answer, encode


def test_fields_of_one_answer_are_sent_and_not_remembered() -> None:
    answer = Answer(200, "Vary: Origin\r\n", b"ok")
    encode(answer)
    known = response._start.cache_info().currsize
    sent = encode(answer._replace(own="Set-Cookie: secret\r\n"))
    assert b"\r\nVary: Origin\r\nSet-Cookie: secret\r\n" in sent
    assert response._start.cache_info().currsize == known
    assert b"secret" not in encode(answer)
