"""Exports recorded events to files that other systems read: a day's rows in files of its own.

Entered by `reftide export` alone.
"""
