"""What the edge asks servers once a second, and does about their answers.

Only the composition root imports it.
"""
