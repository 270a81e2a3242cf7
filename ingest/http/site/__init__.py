"""What browsers load from an edge: the tracker's scripts, and the page to try it."""
