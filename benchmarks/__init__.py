"""How fast it is. See docs/performance.md."""
