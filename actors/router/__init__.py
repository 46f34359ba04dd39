"""Decides who speaks: a pure state machine per session, and the hub that carries out its actions."""
