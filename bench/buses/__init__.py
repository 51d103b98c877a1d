"""What a message over the bus costs: the parts of `bench.bus`."""
