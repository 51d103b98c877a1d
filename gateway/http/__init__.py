"""HTTP/1.1 on the public port: one way in for every request, one way out for every answer.

This package knows nothing of Engine.IO: the handler of a path gets a `Request` and gives back an
`Answer`.
"""

__all__: list[str] = []
