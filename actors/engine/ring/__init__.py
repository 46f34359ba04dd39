"""An engine on a ring of ranks: every rank holds the keys and values of some positions of a text."""
