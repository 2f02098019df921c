"""What `lseg eval` measures, and its report. See docs/evaluation.md."""
