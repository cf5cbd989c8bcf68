"""A reply in the making: who writes it, its live text, how it stops, survives and moves to another node."""
