"""What a dialect is made of: requests and replies, events, refusals, routes.

What every request makes anew is a Value: a frozen dataclass takes ten times as long to make.
"""
