"""What serves browsers, measured: what its routes cost other requests, and a frozen Redis."""
