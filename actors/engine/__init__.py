"""The model room: weights, decoder, cache, and sessions in batched steps."""
