"""The parts of `python -m bench.workers`: gateways, stock clients, faults, costs."""
