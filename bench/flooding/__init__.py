"""The parts of `bench.floods` and `bench.crowds`: the gateway, the attackers, the witnesses."""
