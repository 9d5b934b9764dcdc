"""For maintainers; not installed: benchmarks, pre-training, results that are kept."""
