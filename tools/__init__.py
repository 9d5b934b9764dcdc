"""For maintainers; not installed: benchmarks, pre-training."""
