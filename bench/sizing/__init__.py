"""What a cluster of any size takes, by a model that is fitted: the parts of `bench.capacity`."""
