"""Time and accuracy of optlayers beside its rivals: `python -m benchmarks`."""
