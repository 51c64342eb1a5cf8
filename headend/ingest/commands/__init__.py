"""Commands to meters: asked for at the desk, carried out on the bus this process owns, confirmed by reading back."""
