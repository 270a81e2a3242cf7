"""Commands of a checkout: demo and measurements."""
