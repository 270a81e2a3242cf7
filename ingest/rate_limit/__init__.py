"""Rate limits that hold over all edges of one Redis, and in each edge while it is away."""
