"""Pushes: what other services have the gateway do to its sockets, over HTTP.

`operations` are what they ask for, `performing` does it in a process that serves, `keys` answers
what is asked again, `openapi` describes all of it.
"""

__all__: list[str] = []
