"""What measurements send, and with what."""
