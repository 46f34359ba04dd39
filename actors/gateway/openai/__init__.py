"""The OpenAI-compatible HTTP door: its words on one side, `inference.proto` on the other."""
