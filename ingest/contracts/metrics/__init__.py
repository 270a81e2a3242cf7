"""Every figure that a process shows at `/metrics`, declared once.

A process shows its own figures on a port of its own, and adding up is the collector's
work. Labels have few values, which are ours: no caller's text ever becomes one.
"""
