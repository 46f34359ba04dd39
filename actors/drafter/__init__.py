"""Guesses what follows a text: with the small model, from texts alone, or both."""
