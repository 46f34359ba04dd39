"""What outlives a gateway: requests, and what was committed of them."""
