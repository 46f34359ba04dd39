"""Attention over keys that lie at several ranks: who holds what, what travels, and how it becomes one."""
