"""Backends: HTTP services that answer events, and what is sent to them."""

__all__: list[str] = []
