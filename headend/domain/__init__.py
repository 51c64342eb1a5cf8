"""Frozen types and rules that every stage shares; no input or output here."""
