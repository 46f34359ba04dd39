"""Says what the large model would have said, and which guesses may stay."""
