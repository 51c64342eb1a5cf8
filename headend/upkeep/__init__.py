"""Role *upkeep*: what the store needs from time to time, and what somebody should be told about it."""
