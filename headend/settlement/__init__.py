"""From register readings to interval energy, balances and findings."""
