"""Benchmarks of sockgw and its peers, each a command: README.md lists them."""
