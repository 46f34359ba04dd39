"""The door for routers that drive engines, who speak the protocol that SMG has for vLLM."""
