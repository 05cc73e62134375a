"""Whether the benchmarks run. What they measure is no matter of a test."""
