"""Pages for grid engineers, crews and billing staff."""
