"""Every metric that a process shows at `/metrics`, declared once.

A process shows its own metrics on a port of its own; the collector adds them up. A label
has few values, which the code names: no caller's text becomes one.
"""
