"""From drivers to committed rows."""
