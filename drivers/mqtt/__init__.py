"""Meters and concentrators that publish by themselves: topics, payloads (pure) and the one client of the broker."""
