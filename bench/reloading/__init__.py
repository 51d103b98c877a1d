"""The parts of `python -m bench.reload`: the files it edits, the daemon, the sockets."""
