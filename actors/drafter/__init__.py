"""Guesses what follows a text: with the small model, or by looking the text up in itself."""
