"""The learned token router's file, and its process where it has one of its own."""
