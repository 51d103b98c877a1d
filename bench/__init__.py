"""How fast sockgw is, beside its peers: `python -m bench.speed`, `python -m bench.profile`."""
