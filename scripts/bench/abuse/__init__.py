"""`reftide bench abuse`: what callers without a key may do to everybody else."""
