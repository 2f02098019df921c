"""Measures the speed of the models. See docs/performance.md."""
