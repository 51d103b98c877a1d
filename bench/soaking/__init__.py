"""The parts of `bench.soak`: the daemon, the clients' lives, the verdict."""
