"""The rollout of a prefix version: pure decisions and the state that they are made from. Nothing here does I/O."""
