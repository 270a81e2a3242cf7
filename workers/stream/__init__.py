"""Reading shards of the stream: consumers, epochs, trimming, liveness."""
