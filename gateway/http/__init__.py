"""HTTP/1.1 of the public port: one way in for every request, one way out for every answer.

Knows nothing of Engine.IO: whoever serves a path is given a `Request` and answers with `Answer`s.
"""

__all__: list[str] = []
