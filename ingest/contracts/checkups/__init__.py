"""What doctor and the start-up checks look at, as rules that edges and commands share.

Pure: a caller asks the server and hands on its replies.
"""
