"""The operator's commands, behind the `reftide` entry point."""
