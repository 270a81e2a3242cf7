"""The commands of `reftide`, one module each; `scripts.cli` imports them when called."""
