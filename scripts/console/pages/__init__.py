"""One module a page: what it shows, and the acts of its forms."""
