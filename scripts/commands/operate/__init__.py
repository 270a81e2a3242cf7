"""Commands that run Reftide and look at it."""
