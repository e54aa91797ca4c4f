"""The harness behind scripts/bench. Python's standard library only."""
